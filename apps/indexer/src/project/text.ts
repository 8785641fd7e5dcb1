// Copies UTF-8 from a block into the row, as text or as a JSON string, repairing what Postgres refuses on the way.
// The surprise: for the short strings of records, loops over words of four bytes beat every call into native code.
import type { CborReader } from './cbor.ts'
import { JsonPlaces } from './short-json.ts'

/** What a copy met, as bits: both are repaired with U+FFFD, the way TextDecoder does it. */
export const textFlaw = { nul: 1, notUtf8: 2 } as const

/** Where rows are put together. Whoever writes has made sure of the room. */
export class Output {
  bytes: Uint8Array = new Uint8Array(0)
  view: DataView = new DataView(this.bytes.buffer)
  length = 0
  /** `textFlaw` bits of everything copied since somebody set it to 0. */
  flaws = 0
  /** In the JSON that is being written. */
  readonly places = new JsonPlaces()

  /** Takes over `bytes` as its room; what was written stays. */
  replaceRoom(bytes: Uint8Array): void {
    bytes.set(this.bytes.subarray(0, this.length))
    this.bytes = bytes
    this.view = new DataView(bytes.buffer, bytes.byteOffset)
  }

  copyBytes(reader: CborReader, start: number, end: number): void {
    const source = reader.bytes
    const target = this.bytes
    let out = this.length
    for (let i = start; i < end; i++) target[out++] = source[i] ?? 0
    this.length = out
  }

  /** Copies ASCII characters above `floor`; false, with a part copied, when there is another. */
  copyAbove(reader: CborReader, start: number, end: number, floor: number): boolean {
    const { bytes: source, view: sourceView } = reader
    const { bytes, view } = this
    const floors = (floor + 1) * 0x01010101
    let out = this.length
    let position = start
    for (; position + 4 <= end; position += 4, out += 4) {
      const word = sourceView.getInt32(position)
      if (((word | (word - floors)) & 0x80808080) !== 0) return false
      view.setInt32(out, word)
    }
    for (; position < end; position++) {
      const byte = source[position] ?? 0
      if (byte <= floor || byte >= 0x80) return false
      bytes[out++] = byte
    }
    this.length = out
    return true
  }

  copyText(reader: CborReader, start: number, end: number): void {
    const { view: sourceView } = reader
    const { view } = this
    for (let position = start; position < end; ) {
      let out = this.length
      for (; position + 4 <= end; position += 4, out += 4) {
        const word = sourceView.getInt32(position)
        // Any high bit, or any zero byte.
        if (((word | (word - 0x01010101)) & 0x80808080) !== 0) break
        view.setInt32(out, word)
      }
      this.length = out
      if (position < end) position = this.#copyTextBytes(reader.bytes, position, end)
    }
  }

  copyJsonString(reader: CborReader, start: number, end: number): void {
    const { view: sourceView } = reader
    const { view } = this
    view.setUint8(this.length++, quote)
    for (let position = start; position < end; ) {
      let out = this.length
      for (; position + 4 <= end; position += 4, out += 4) {
        const word = sourceView.getInt32(position)
        // Any high bit, any byte below a space, any quote, any backslash.
        const quotes = word ^ 0x22222222
        const slashes = word ^ 0x5c5c5c5c
        const odd = word | (word - 0x20202020) | (quotes - 0x01010101) | (slashes - 0x01010101)
        if ((odd & 0x80808080) !== 0) break
        view.setInt32(out, word)
      }
      this.length = out
      if (position < end) position = this.#copyJsonBytes(reader.bytes, position, end)
    }
    view.setUint8(this.length++, quote)
  }

  /** A few bytes one by one, among them at least the next word; returns where the source goes on. */
  #copyTextBytes(source: Uint8Array, start: number, end: number): number {
    const target = this.bytes
    const stop = Math.min(end, start + bytesAtOnce)
    let out = this.length
    let position = start
    while (position < stop) {
      const byte = source[position] ?? 0
      if (byte < 0x80 && byte !== 0) {
        target[out++] = byte
        position++
      } else if (byte === 0) {
        this.flaws |= textFlaw.nul
        out = writeReplacement(target, out)
        position++
      } else {
        this.length = out
        position = this.#copySequence(source, position, end)
        out = this.length
      }
    }
    this.length = out
    return position
  }

  #copyJsonBytes(source: Uint8Array, start: number, end: number): number {
    const target = this.bytes
    const stop = Math.min(end, start + bytesAtOnce)
    let out = this.length
    let position = start
    while (position < stop) {
      const byte = source[position] ?? 0
      if (byte >= 0x80) {
        this.length = out
        position = this.#copySequence(source, position, end)
        out = this.length
        continue
      }
      position++
      const how = jsonEscapes[byte] ?? 0
      if (how === 0) {
        target[out++] = byte
      } else if (how === replaced) {
        this.flaws |= textFlaw.nul
        out = writeReplacement(target, out)
      } else if (how === spelled) {
        out = writeUnicodeEscape(target, out, byte)
      } else {
        target[out] = backslash
        target[out + 1] = how
        out += 2
      }
    }
    this.length = out
    return position
  }

  /** One character of several bytes, or U+FFFD for what is none; returns where the source goes on. */
  #copySequence(source: Uint8Array, position: number, end: number): number {
    const length = sequenceLength(source, position, end)
    if (length < 0) {
      this.flaws |= textFlaw.notUtf8
      this.length = writeReplacement(this.bytes, this.length)
      return position - length
    }
    for (let i = 0; i < length; i++) this.bytes[this.length++] = source[position + i] ?? 0
    return position + length
  }
}

/** Text that is not ASCII tends to stay so: words are tried again after this many bytes. */
const bytesAtOnce = 12
const quote = 0x22
const backslash = 0x5c
const replaced = 1
const spelled = 2
const jsonEscapes = new Uint8Array(128)
jsonEscapes.fill(spelled, 0, 0x20)
jsonEscapes[0] = replaced
for (const [byte, letter] of ['\bb', '\tt', '\nn', '\ff', '\rr', '""', '\\\\'].map((pair) => Buffer.from(pair))) {
  jsonEscapes[byte ?? 0] = letter ?? 0
}

function writeReplacement(target: Uint8Array, out: number): number {
  target[out] = 0xef
  target[out + 1] = 0xbf
  target[out + 2] = 0xbd
  return out + 3
}

function writeUnicodeEscape(target: Uint8Array, out: number, byte: number): number {
  target[out] = backslash
  target[out + 1] = 0x75
  target[out + 2] = 0x30
  target[out + 3] = 0x30
  target[out + 4] = 0x30 + (byte >> 4)
  const low = byte & 15
  target[out + 5] = low < 10 ? 0x30 + low : 0x57 + low
  return out + 6
}

/**
 * Bytes of the well-formed sequence that starts with a byte >= 0x80, or minus the bytes that one U+FFFD stands for
 * (the longest beginning of a well-formed sequence, at least 1: Unicode 3.9, "substitution of maximal subparts").
 */
function sequenceLength(source: Uint8Array, position: number, end: number): number {
  const lead = source[position] ?? 0
  if (lead < 0xc2 || lead > 0xf4) return -1
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4
  if (position + 1 >= end) return -1
  const second = source[position + 1] ?? 0
  const lowest = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80
  const highest = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf
  if (second < lowest || second > highest) return -1
  for (let i = 2; i < length; i++) {
    if (position + i >= end || ((source[position + i] ?? 0) & 0xc0) !== 0x80) return -i
  }
  return length
}
