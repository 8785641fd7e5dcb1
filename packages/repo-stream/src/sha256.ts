// SHA-256 of blocks and keys. `crypto.hash` to latin1 text: 0.4 us for a key, 0.6 us for a record, a third of the time that
// it needs to make a Buffer.
import { hash } from 'node:crypto'
import { digestBytes } from './cid.ts'

/** Has `bytes` the digest that stands at `digestAt` of `digests`? */
export function hasDigest(bytes: Uint8Array, digests: Uint8Array, digestAt: number): boolean {
  const found = hash('sha256', bytes, 'binary')
  for (let i = 0; i < digestBytes; i++) if (found.charCodeAt(i) !== digests[digestAt + i]) return false
  return true
}

/** Leading zero bits of the SHA-256 of `bytes`, counted in pairs: the depth of a key in the tree. */
export function zeroPairs(bytes: Uint8Array | string): number {
  const found = hash('sha256', bytes, 'binary')
  for (let i = 0; i < digestBytes; i++) {
    const byte = found.charCodeAt(i)
    if (byte !== 0) return i * 4 + ((Math.clz32(byte) - 24) >> 1)
  }
  return digestBytes * 4
}
