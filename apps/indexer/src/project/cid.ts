// CIDs between their binary form and the base32 text of atproto ('b' and lower case), by offset, without objects.
import { isCid } from './cbor.ts'

/** Writes the text form of `source[start, end)` at `target[at]`; returns where it ends. */
export function writeCidText(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
  let out = at
  target[out++] = letterB
  let bits = 0
  let held = 0
  for (let i = start; i < end; i++) {
    held = ((held << 8) | (source[i] ?? 0)) & 0xfff
    bits += 8
    while (bits >= 5) {
      bits -= 5
      target[out++] = alphabet[(held >> bits) & 31] ?? 0
    }
  }
  if (bits > 0) target[out++] = alphabet[(held << (5 - bits)) & 31] ?? 0
  return out
}

/** Writes the binary form of the text `source[start, end)` at `target[at]`; returns where it ends, or -1 if it is not exactly a CID. */
export function writeCidBytes(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
  if (source[start] !== letterB || end - start > maxCidTextBytes) return -1
  let out = at
  let bits = 0
  let held = 0
  for (let i = start + 1; i < end; i++) {
    const value = values[source[i] ?? 0] ?? 255
    if (value === 255) return -1
    held = ((held << 5) | value) & 0xfff
    bits += 5
    if (bits >= 8) {
      bits -= 8
      target[out++] = (held >> bits) & 255
    }
  }
  const leftOver = bits >= 5 || (held & ((1 << bits) - 1)) !== 0
  return !leftOver && target[at] === 1 && isCid(target, at, out) ? out : -1
}

const letterB = 0x62
/** 100 bytes of CID. Those of atproto have 36 bytes, 59 characters. */
const maxCidTextBytes = 161
const alphabet = new TextEncoder().encode('abcdefghijklmnopqrstuvwxyz234567')
const values = new Uint8Array(256).fill(255)
for (let i = 0; i < alphabet.length; i++) values[alphabet[i] ?? 0] = i
