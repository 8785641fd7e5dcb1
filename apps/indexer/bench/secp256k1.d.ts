// What the farm uses of npm `secp256k1`, which has no types of its own.
declare module 'secp256k1' {
  interface Secp256k1 {
    /** The message is a hash of 32 bytes; the signature has 64, s in its lower half. */
    ecdsaSign(message: Uint8Array, privateKey: Uint8Array): { signature: Uint8Array; recid: number }
    publicKeyCreate(privateKey: Uint8Array, compressed?: boolean): Uint8Array
  }
  const secp256k1: Secp256k1
  export default secp256k1
}
