// CIDs between their binary form and the base32 text of atproto ('b' and lower case), by offset, without objects.
import type { Memory } from 'repo-stream'

/** Version 1 with any codec and a multihash of the announced length. https://atproto.com/specs/data-model#link-and-cid-formats */
export function isCid(bytes: Uint8Array, start: number, end: number): boolean {
  const length = end - start
  if (length === 36 && bytes[start] === 1 && bytes[start + 2] === 0x12 && bytes[start + 3] === 0x20) {
    if ((bytes[start + 1] ?? 0x80) < 0x80) return true
  }
  return bytes[start] === 1 && isMultihash(bytes, start + 1, end)
}

/** Writes the text form of `source[start, end)` at `target[at]`; returns where it ends. */
export function writeCidText(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
  let out = at
  target[out++] = letterB
  let position = start
  for (; position + 5 <= end; position += 5, out += 8) {
    const a = source[position] ?? 0
    const b = source[position + 1] ?? 0
    const c = source[position + 2] ?? 0
    const d = source[position + 3] ?? 0
    const e = source[position + 4] ?? 0
    target[out] = alphabet[a >> 3] ?? 0
    target[out + 1] = alphabet[((a << 2) | (b >> 6)) & 31] ?? 0
    target[out + 2] = alphabet[(b >> 1) & 31] ?? 0
    target[out + 3] = alphabet[((b << 4) | (c >> 4)) & 31] ?? 0
    target[out + 4] = alphabet[((c << 1) | (d >> 7)) & 31] ?? 0
    target[out + 5] = alphabet[(d >> 2) & 31] ?? 0
    target[out + 6] = alphabet[((d << 3) | (e >> 5)) & 31] ?? 0
    target[out + 7] = alphabet[e & 31] ?? 0
  }
  let bits = 0
  let held = 0
  for (; position < end; position++) {
    held = ((held << 8) | (source[position] ?? 0)) & 0xfff
    bits += 8
    for (; bits >= 5; bits -= 5) target[out++] = alphabet[(held >> (bits - 5)) & 31] ?? 0
  }
  if (bits > 0) target[out++] = alphabet[(held << (5 - bits)) & 31] ?? 0
  return out
}

/**
 * Writes the binary form of the text `source[start, end)` at `target[at]`; returns where it ends, or -1 unless the text is
 * exactly what the CID is written as.
 */
export function writeCidBytes(from: Memory, start: number, end: number, to: Memory, at: number): number {
  const { bytes: source, view } = from
  const { bytes: target } = to
  if (source[start] !== letterB || end - start > maxCidTextBytes) return -1
  let out = at
  let position = start + 1
  for (; position + 8 <= end; position += 8, out += 5) {
    const left = fourDigits(view.getInt32(position))
    const right = fourDigits(view.getInt32(position + 4))
    if ((left | right) < 0) return -1
    to.view.setInt32(out, (left << 12) | (right >> 8))
    target[out + 4] = right
  }
  let strange = 0
  let bits = 0
  let held = 0
  for (; position < end; position++) {
    const value = values[source[position] ?? 0] ?? 0
    strange |= value
    held = ((held << 5) | value) & 0xfff
    bits += 5
    if (bits >= 8) {
      bits -= 8
      target[out++] = held >> bits
    }
  }
  const leftOver = bits >= 5 || (held & ((1 << bits) - 1)) !== 0
  return strange < notADigit && !leftOver && target[at] === 1 && isCid(target, at, out) ? out : -1
}

/** The 20 bits of four digits, all at once: half the time of a table for each; -1 when one of them is none. */
function fourDigits(word: number): number {
  const areNumbers = (~word >> 6) & 0x01010101 // 2 to 7 lack a bit that letters have
  const values = ((word & 0x1f1f1f1f) - 0x01010101 + areNumbers * 9) | 0
  const areLast = ((values + 0x06060606) >> 5) & 0x01010101 // 26 to 31
  const written = values + 0x61616161 - areLast * 0x49
  if ((values & ~0x1f1f1f1f) !== 0 || (written | 0) !== word) return -1
  const pairs = ((values & 0x1f001f00) >> 3) | (values & 0x001f001f)
  return ((pairs >> 6) & 0xffc00) | (pairs & 0x3ff)
}

const letterB = 0x62
/** What a column holds. Those of atproto have 36 bytes, 59 characters. */
export const maxCidBytes = 100
const maxCidTextBytes = 1 + Math.ceil((maxCidBytes * 8) / 5)
const notADigit = 32
const alphabet = new TextEncoder().encode('abcdefghijklmnopqrstuvwxyz234567')
const values = new Uint8Array(256).fill(notADigit)
for (let i = 0; i < alphabet.length; i++) values[alphabet[i] ?? 0] = i

/** Codec, hash function and digest length as minimal varints, and then that many bytes. */
function isMultihash(bytes: Uint8Array, start: number, end: number): boolean {
  let position = start
  let last = 0
  for (let part = 0; part < 3; part++) {
    last = 0
    for (let i = 0; ; i++) {
      if (position >= end || i === 6) return false
      const byte = bytes[position++] ?? 0
      last += (byte & 0x7f) * 128 ** i
      if (byte >= 0x80) continue
      if (byte === 0 && i > 0) return false
      break
    }
  }
  return position + last === end
}
