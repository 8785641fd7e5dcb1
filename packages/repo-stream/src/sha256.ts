// SHA-256 of blocks and keys. `crypto.hash` to latin1 text: 0.4 us for a key, 0.6 us for a record, a third of the time that
// it needs to make a Buffer.
import { hash } from 'node:crypto'
import { digestBytes } from './cid.ts'

/** Has `bytes` the digest that stands at `digestAt` of `digests`? */
export function hasDigest(bytes: Uint8Array, digests: DataView, digestAt: number): boolean {
  const found = hash('sha256', bytes, 'binary')
  for (let i = 0; i < digestBytes; i += 4) if (wordAt(found, i) !== digests.getInt32(digestAt + i)) return false
  return true
}

/** By words a digest is compared in 52 ns, by characters in 55 to 74. */
function wordAt(text: string, i: number): number {
  return (
    (text.charCodeAt(i) << 24) | (text.charCodeAt(i + 1) << 16) | (text.charCodeAt(i + 2) << 8) | text.charCodeAt(i + 3)
  )
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
