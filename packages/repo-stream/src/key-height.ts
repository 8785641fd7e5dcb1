// The height of a key in the MST: how deep its node stands, counted from the leaves.
import { zeroPairs } from './sha256.ts'

/** Leading zero bits of the key's SHA-256, in pairs (https://atproto.com/specs/repository#mst-structure). */
export function keyHeight(key: string | Uint8Array): number {
  return zeroPairs(key)
}
