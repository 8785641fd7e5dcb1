// Reads DAG-CBOR in place: heads, skips and keys, by offset, building no object. Refuses what the format refuses
// (indefinite lengths, wide heads, odd tags and simple values, repeated keys), with a reason and an offset.
// The surprise: keys out of order are read, since the network may store such records; only a repeated key is refused.
import type { Place } from 'repo-stream'
import { isCid } from './cid.ts'
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

/** What makes a whole block unreadable. Caught by the projection; it never leaves this folder. */
export class CborError extends Error {
  override readonly name = 'CborError'
  readonly tooDeep: boolean

  constructor(reason: string, offset: number, tooDeep = false) {
    super(`${reason} at byte ${offset}`)
    this.tooDeep = tooDeep
  }
}

/** A position in one block. `readHead` leaves `major` and `argument` behind; every read moves `position`. */
export class CborReader {
  /** What the block is part of: blocks come out of few big buffers, and making views costs. */
  bytes: Uint8Array = new Uint8Array(0)
  view: DataView = new DataView(this.bytes.buffer)
  /** Of the block in `bytes`. */
  start = 0
  end = 0
  position = 0
  major = 0
  /** Length, count or integer of the last head; exact up to 2^53, and never used for more than a comparison beyond. */
  argument = 0
  /** A map with keys out of order was passed: `refuseRepeatedKeys` has to look at the block before it is believed. */
  sawUnsortedKeys = false

  open({ memory, from, to }: Place): void {
    if (this.view !== memory.view) {
      // most blocks lie where the one before did, and a reader is older than memory, so the stores cost
      this.bytes = memory.bytes
      this.view = memory.view
    }
    this.start = from
    this.end = to
    this.rewind()
  }

  rewind(): void {
    this.position = this.start
    this.sawUnsortedKeys = false
  }

  fail(reason: string, position = this.position): never {
    throw new CborError(reason, position - this.start)
  }

  failTooDeep(position: number): never {
    throw new CborError(`a value nested deeper than ${projectionLimits.maxDepth}`, position - this.start, true)
  }

  readHead(): void {
    const { position } = this
    if (position >= this.end) this.fail('the block ends inside a value')
    const initial = this.bytes[position] ?? 0
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
    if (info > 27) this.fail('an indefinite or reserved length')
    const after = position + 1 + (1 << (info - 24))
    if (after > this.end) this.fail('the block ends inside a value')
    const { view } = this
    let argument = 0
    let smallest = 24
    if (info === 24) {
      argument = view.getUint8(position + 1)
    } else if (info === 25) {
      argument = view.getUint16(position + 1)
      smallest = 0x100
    } else if (info === 26) {
      argument = view.getUint32(position + 1)
      smallest = 0x1_0000
    } else {
      argument = view.getUint32(position + 1) * 0x1_0000_0000 + view.getUint32(position + 5)
      smallest = 0x1_0000_0000
    }
    if (argument < smallest && this.major !== cborMajor.simple) this.fail('a length or integer wider than it needs')
    this.argument = argument
    this.position = after
  }

  /** Takes `argument` bytes after a head of text or bytes; returns where they start. */
  takeBody(): number {
    const start = this.position
    const after = start + this.argument
    if (after > this.end) this.fail('the block ends inside a string')
    this.position = after
    return start
  }

  /** After the head of an array or map: refuses a count that the rest of the block cannot hold. */
  checkCount(bytesEach: number): number {
    if (this.argument * bytesEach > this.end - this.position) this.fail('a list or map longer than the block')
    return this.argument
  }

  /** Reads a map key; returns where its bytes start. `argument` is its length. */
  readKey(): number {
    const at = this.position
    this.readHead()
    if (this.major !== cborMajor.text) this.fail('a map key that is not text', at)
    return this.takeBody()
  }

  /** Passes one value, checking all of it except the characters of its text. */
  skip(depth: number): void {
    const at = this.position
    this.readHead()
    const { major } = this
    if (major === cborMajor.text || major === cborMajor.bytes) {
      this.takeBody()
    } else if (major === cborMajor.map) {
      if (depth >= projectionLimits.maxDepth) this.failTooDeep(at)
      this.#skipMap(depth)
    } else if (major === cborMajor.array) {
      const count = this.checkCount(1)
      if (depth >= projectionLimits.maxDepth) this.failTooDeep(at)
      for (let i = 0; i < count; i++) this.skip(depth + 1)
    } else if (major === cborMajor.tag) {
      this.readLink(at)
    } else if (major === cborMajor.simple) {
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
      if (length <= previousLength) this.checkKeyOrder(previousStart, previousLength, start)
      previousStart = start
      previousLength = length
      this.skip(depth + 1)
    }
  }

  /**
   * For a key (of `argument` bytes) that is not longer than the one before it. DAG-CBOR orders keys by length, then bytes.
   * Notes a wrong order; refuses an immediate repetition.
   */
  checkKeyOrder(previousStart: number, previousLength: number, start: number): void {
    const length = this.argument
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
    this.fail('a repeated map key', start)
  }

  /** After the head of a tag that stood at `at`: reads a link; returns where its CID starts. It ends at `position`. */
  readLink(at: number): number {
    if (this.argument !== 42) this.fail('a tag that is not 42', at)
    this.readHead()
    if (this.major !== cborMajor.bytes) this.fail('a link that is not bytes', at)
    const start = this.takeBody()
    if (this.bytes[start] !== 0 || !isCid(this.bytes, start + 1, this.position)) this.fail('a link that is no CID', at)
    return start + 1
  }

  /** After a head of major type 7 that stood at `at`: only false, true, null and finite 64-bit floats are DAG-CBOR. */
  checkSimple(at: number): void {
    const initial = this.bytes[at] ?? 0
    if (initial >= cborFalse && initial <= cborNull) return
    if (initial !== cborFloat64) this.fail('a simple value that is not false, true or null, or a short float', at)
    if (!Number.isFinite(this.view.getFloat64(at + 1))) this.fail('a float that is NaN or infinite', at)
  }
}

/** Looks for a repeated key in every map of a block whose keys are out of order. Linear: each map is read once. */
export function refuseRepeatedKeys(reader: CborReader): void {
  const at = reader.position
  reader.readHead()
  const { major, argument: count } = reader
  if (major === cborMajor.array) {
    for (let i = 0; i < count; i++) refuseRepeatedKeys(reader)
  } else if (major === cborMajor.map) {
    const seen = new Set<string>()
    for (let i = 0; i < count; i++) {
      const start = reader.readKey()
      const key = Buffer.from(reader.bytes.buffer, reader.bytes.byteOffset + start, reader.argument).toString('latin1')
      if (seen.has(key)) reader.fail('a repeated map key', start)
      seen.add(key)
      refuseRepeatedKeys(reader)
    }
  } else {
    reader.position = at
    reader.skip(0)
  }
}
