// CIDs between their binary form and the base32 text of atproto ('b' and lower case), by offset, without objects.

/** Version 1 with any codec and a multihash of the announced length, or the 34 bytes of version 0. */
export function isCid(bytes: Uint8Array, start: number, end: number): boolean {
  const length = end - start
  if (length === 36 && bytes[start] === 1 && bytes[start + 2] === 0x12 && bytes[start + 3] === 0x20) {
    return (bytes[start + 1] ?? 0x80) < 0x80
  }
  if (length === 34 && bytes[start] === 0x12 && bytes[start + 1] === 0x20) return true
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
export function writeCidBytes(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
  if (source[start] !== letterB || end - start > maxCidTextBytes) return -1
  let out = at
  let position = start + 1
  let strange = 0
  for (; position + 8 <= end; position += 8, out += 5) {
    const a = values[source[position] ?? 0] ?? 0
    const b = values[source[position + 1] ?? 0] ?? 0
    const c = values[source[position + 2] ?? 0] ?? 0
    const d = values[source[position + 3] ?? 0] ?? 0
    const e = values[source[position + 4] ?? 0] ?? 0
    const f = values[source[position + 5] ?? 0] ?? 0
    const g = values[source[position + 6] ?? 0] ?? 0
    const h = values[source[position + 7] ?? 0] ?? 0
    strange |= a | b | c | d | e | f | g | h
    target[out] = (a << 3) | (b >> 2)
    target[out + 1] = (b << 6) | (c << 1) | (d >> 4)
    target[out + 2] = (d << 4) | (e >> 1)
    target[out + 3] = (e << 7) | (f << 2) | (g >> 3)
    target[out + 4] = (g << 5) | h
  }
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

const letterB = 0x62
/** 100 bytes of CID. Those of atproto have 36 bytes, 59 characters. */
const maxCidTextBytes = 161
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
