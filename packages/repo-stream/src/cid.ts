// The one CID form of a repo: `01 71 12 20` (CIDv1, DAG-CBOR, SHA-256, 32 bytes) and the digest; in a block, as a link.
import { RepoStreamError } from './errors.ts'

export const cidBytes = 36
export const digestBytes = 32
/** `01 71 12 20`, read big-endian. */
export const cidHead = 0x01711220
/** A link in DAG-CBOR: tag 42 on 37 bytes that start with 00: `d8 2a 58 25 00`, then the CID. */
export const linkBytes = 5 + cidBytes

/** The text form of the CID whose digest stands at `digestAt`: `b` and lower-case base32. For errors and logs. */
export function cidText(bytes: Uint8Array, digestAt: number): string {
  return cidBytesText(cidOf(bytes, digestAt))
}

/** The CID whose digest stands at `digestAt`. */
export function cidOf(bytes: Uint8Array, digestAt: number): Uint8Array {
  const cid = new Uint8Array(cidBytes)
  for (let i = 0; i < 4; i++) cid[i] = cidHead >>> (24 - 8 * i)
  for (let i = 0; i < digestBytes; i++) cid[4 + i] = bytes[digestAt + i] ?? 0
  return cid
}

/** The text form of a 36-byte CID. */
export function cidBytesText(cid: Uint8Array): string {
  const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'
  let text = 'b'
  let bits = 0
  let held = 0
  for (const byte of cid) {
    held = ((held << 8) | byte) & 0xfff
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += alphabet[(held >>> bits) & 31]
    }
  }
  return bits === 0 ? text : text + alphabet[(held << (5 - bits)) & 31]
}

/** Does a link to a repo block stand at `at`, wholly before `end`? */
export function isLink(view: DataView, at: number, end: number): boolean {
  return (
    at + linkBytes <= end &&
    view.getUint32(at) === 0xd82a5825 &&
    view.getUint8(at + 4) === 0 &&
    view.getUint32(at + 5) === cidHead
  )
}

/** Throws unless the four bytes at `at` start a CID of a repo block. `offset` is for the error alone. */
export function checkCidHead(view: DataView, at: number, offset: number): void {
  const head = view.getUint32(at)
  if (head === cidHead) return
  throw new RepoStreamError('CidUnsupported', `a CID of a repo starts with 01711220, this one with ${hex(head)}`, {
    offset,
  })
}

function hex(word: number): string {
  return word.toString(16).padStart(8, '0')
}
