// What we use of npm `secp256k1`, which has no types of its own.
declare module 'secp256k1' {
  interface Secp256k1 {
    /** Signature of 64 bytes; the message is a hash of 32; the key a point of 33 or 65. False for a high s, too. */
    ecdsaVerify(signature: Uint8Array, message: Uint8Array, publicKey: Uint8Array): boolean
    ecdsaSign(message: Uint8Array, privateKey: Uint8Array): { signature: Uint8Array; recid: number }
    publicKeyCreate(privateKey: Uint8Array, compressed?: boolean): Uint8Array
  }
  const secp256k1: Secp256k1
  export default secp256k1
}
