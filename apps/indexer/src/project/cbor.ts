// Reads DAG-CBOR in place: heads, skips and text, by offset, building no object. Refuses what the format refuses
// (indefinite lengths, wide heads, odd tags and simple values, repeated keys), with a reason and an offset.
// The surprise: keys out of order are read, since the network stores such records; only a repeated key is refused.
import { projectionLimits } from './limits.ts'

type MajorName = 'unsigned' | 'negative' | 'bytes' | 'text' | 'array' | 'map' | 'tag' | 'simple'
export const cborMajor: Readonly<Record<MajorName, number>> = {
  unsigned: 0,
  negative: 1,
  bytes: 2,
  text: 3,
  array: 4,
  map: 5,
  tag: 6,
  simple: 7,
}
export const cborNull = 0xf6
export const cborFalse = 0xf4
export const cborTrue = 0xf5
export const cborFloat64 = 0xfb

/** What makes a whole block unreadable. Caught by the projector; it never leaves this folder. */
export class CborError extends Error {
  override readonly name = 'CborError'
  readonly offset: number
  readonly tooDeep: boolean

  constructor(reason: string, offset: number, tooDeep = false) {
    super(`${reason} at byte ${offset}`)
    this.offset = offset
    this.tooDeep = tooDeep
  }
}

/** A position in one block. `readHead` leaves `major` and `argument` behind; every read moves `position`. */
export class CborReader {
  bytes: Uint8Array = new Uint8Array(0)
  position = 0
  major = 0
  /** Length, count or integer of the last head; exact up to 2^53, and never used for more than a comparison beyond. */
  argument = 0
  /** A map with keys out of order was passed: `refuseRepeatedKeys` has to look at the block before it is believed. */
  sawUnsortedKeys = false

  open(bytes: Uint8Array): void {
    this.bytes = bytes
    this.position = 0
    this.sawUnsortedKeys = false
  }

  readHead(): void {
    const { bytes, position } = this
    if (position >= bytes.length) throw new CborError('the block ends inside a value', position)
    const initial = bytes[position] ?? 0
    this.major = initial >> 5
    const info = initial & 31
    if (info < 24) {
      this.argument = info
      this.position = position + 1
    } else {
      this.#readWideHead(position, info)
    }
  }

  #readWideHead(position: number, info: number): void {
    const { bytes } = this
    if (info > 27) throw new CborError('an indefinite or reserved length', position)
    const width = 1 << (info - 24)
    const end = position + 1 + width
    if (end > bytes.length) throw new CborError('the block ends inside a value', position)
    let argument = 0
    for (let i = position + 1; i < end; i++) argument = argument * 256 + (bytes[i] ?? 0)
    if (this.major !== cborMajor.simple) {
      const smallest = width === 1 ? 24 : width === 2 ? 0x100 : width === 4 ? 0x1_0000 : 0x1_0000_0000
      if (argument < smallest) throw new CborError('a length or integer wider than it needs', position)
    }
    this.argument = argument
    this.position = end
  }

  /** Takes `argument` bytes after a head of text or bytes; returns where they start. */
  takeBody(): number {
    const start = this.position
    const end = start + this.argument
    if (end > this.bytes.length) throw new CborError('the block ends inside a string', start)
    this.position = end
    return start
  }

  /** After the head of an array or map: refuses a count that the rest of the block cannot hold. */
  checkCount(bytesEach: number): number {
    const count = this.argument
    if (count * bytesEach > this.bytes.length - this.position) {
      throw new CborError('a list or map longer than the block', this.position)
    }
    return count
  }

  /** Reads a map key; returns where its bytes start. `argument` is its length. */
  readKey(): number {
    const at = this.position
    this.readHead()
    if (this.major !== cborMajor.text) throw new CborError('a map key that is not text', at)
    return this.takeBody()
  }

  /** Passes one value, checking all of it except the characters of its text. */
  skip(depth: number): void {
    const at = this.position
    this.readHead()
    switch (this.major) {
      case cborMajor.unsigned:
      case cborMajor.negative:
        return
      case cborMajor.bytes:
      case cborMajor.text:
        this.takeBody()
        return
      case cborMajor.array: {
        const count = this.checkCount(1)
        checkDepth(depth, at)
        for (let i = 0; i < count; i++) this.skip(depth + 1)
        return
      }
      case cborMajor.map:
        checkDepth(depth, at)
        this.#skipMap(depth)
        return
      case cborMajor.tag:
        this.position = at
        this.readLink()
        return
      default:
        this.checkSimple(at)
    }
  }

  #skipMap(depth: number): void {
    const count = this.checkCount(2)
    let previousStart = 0
    let previousLength = -1
    for (let i = 0; i < count; i++) {
      const start = this.readKey()
      const length = this.argument
      this.checkKeyOrder(previousStart, previousLength, start, length)
      previousStart = start
      previousLength = length
      this.skip(depth + 1)
    }
  }

  /** DAG-CBOR orders keys by length, then bytes. Notes a wrong order, refuses an immediate repetition. */
  checkKeyOrder(previousStart: number, previousLength: number, start: number, length: number): void {
    if (length > previousLength) return
    if (length < previousLength) {
      this.sawUnsortedKeys = true
      return
    }
    const { bytes } = this
    for (let i = 0; i < length; i++) {
      const difference = (bytes[start + i] ?? 0) - (bytes[previousStart + i] ?? 0)
      if (difference > 0) return
      if (difference < 0) {
        this.sawUnsortedKeys = true
        return
      }
    }
    throw new CborError('a repeated map key', start)
  }

  /** Reads a link (tag 42); returns where its CID starts, after the zero byte. The CID's bytes end at `position`. */
  readLink(): number {
    const at = this.position
    this.readHead()
    if (this.argument !== 42) throw new CborError('a tag that is not 42', at)
    this.readHead()
    if (this.major !== cborMajor.bytes) throw new CborError('a link that is not bytes', at)
    const start = this.takeBody()
    if (this.bytes[start] !== 0 || !isCid(this.bytes, start + 1, this.position)) {
      throw new CborError('a link that is no CID', at)
    }
    return start + 1
  }

  /** After a head of major type 7 that began at `at`: only false, true, null and finite 64-bit floats are DAG-CBOR. */
  checkSimple(at: number): void {
    const initial = this.bytes[at] ?? 0
    if (initial >= cborFalse && initial <= cborNull) return
    if (initial !== cborFloat64) throw new CborError('a simple value that is not false, true or null', at)
    const exponent = (((this.bytes[at + 1] ?? 0) & 0x7f) << 4) | ((this.bytes[at + 2] ?? 0) >> 4)
    if (exponent === 0x7ff) throw new CborError('a float that is NaN or infinite', at)
  }
}

/** Looks for a repeated key in every map of a block whose keys are out of order. Linear: each map is read once. */
export function refuseRepeatedKeys(reader: CborReader, depth = 0): void {
  const at = reader.position
  reader.readHead()
  const { major } = reader
  if (major === cborMajor.array) {
    const count = reader.argument
    for (let i = 0; i < count; i++) refuseRepeatedKeys(reader, depth + 1)
  } else if (major === cborMajor.map) {
    const count = reader.argument
    const seen = new Set<string>()
    for (let i = 0; i < count; i++) {
      const start = reader.readKey()
      const key = Buffer.from(reader.bytes.buffer, reader.bytes.byteOffset + start, reader.argument).toString('latin1')
      if (seen.has(key)) throw new CborError('a repeated map key', start)
      seen.add(key)
      refuseRepeatedKeys(reader, depth + 1)
    }
  } else {
    reader.position = at
    reader.skip(depth)
  }
}

/** Version 1 with any codec and multihash of the announced length, or the 34 bytes of version 0. */
export function isCid(bytes: Uint8Array, start: number, end: number): boolean {
  const length = end - start
  if (length === 36 && bytes[start] === 1 && bytes[start + 2] === 0x12 && bytes[start + 3] === 0x20) {
    return (bytes[start + 1] ?? 0x80) < 0x80
  }
  if (length === 34 && bytes[start] === 0x12 && bytes[start + 1] === 0x20) return true
  if (bytes[start] !== 1) return false
  let position = start + 1
  let last = 0
  for (let part = 0; part < 3; part++) {
    last = 0
    let scale = 1
    for (let i = 0; ; i++) {
      if (position >= end || i === 8) return false
      const byte = bytes[position++] ?? 0
      last += (byte & 0x7f) * scale
      scale *= 128
      if (byte < 0x80) {
        if (byte === 0 && i > 0) return false
        break
      }
    }
  }
  return position + last === end
}

function checkDepth(depth: number, at: number): void {
  if (depth >= projectionLimits.maxDepth) throw new CborError('a value nested too deeply', at, true)
}
