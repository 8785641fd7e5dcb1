// Decodes a record: strict DAG-CBOR bytes in, plain JS values out. Whatever has a second encoding is refused.
// The whole record becomes one Latin-1 string, of which ASCII strings are cuts that share its memory: holding one small
// string of a record holds the record's text.
import { Buffer, isUtf8 } from 'node:buffer'
import { CID } from 'multiformats/cid'
import { makeLink } from './decode-link.ts'
import { addShape, placeInside, rootPlace, type Shape } from './decode-shapes.ts'
import { RepoStreamError } from './errors.ts'
import { makeMap, maxMadeKeys, storeField } from './make-map.ts'
import { recordMemory } from './record-memory.ts'

export type RecordValue =
  | null
  | boolean
  /** Also for integers up to 2^53 - 1 in magnitude. */
  | number
  /** Integers beyond that, in 64 bits. */
  | bigint
  | string
  | Uint8Array
  | CID
  | RecordValue[]
  | RecordMap

export interface RecordMap {
  [key: string]: RecordValue
}

/** Maps and lists inside each other. Lexicons nest a dozen at most. */
const maxDepth = 256

/**
 * Decodes one record. Integers, lengths and map keys must be in their shortest and sorted form, strings valid UTF-8, tag 42
 * the only tag, floats finite and in 64 bits, nothing of indefinite length, and no byte left over
 * (https://ipld.io/specs/codecs/dag-cbor/spec/). The outermost value is a map. Byte strings and links are copies.
 * @throws RepoStreamError `RecordInvalid`, with the offset within the record.
 */
export function decodeRecord(bytes: Uint8Array): RecordMap {
  if (bytes.length + slack > input.octets.length) Object.assign(input, recordMemory(bytes.length + slack))
  input.octets.set(bytes)
  input.text = input.scratch.latin1Slice(0, bytes.length)
  input.size = bytes.length
  input.position = 1
  const head = input.octets[0] ?? 0
  if (bytes.length === 0 || head >> 5 !== 5) fail('a record must be a map', 0)
  const record = readMap(readCount(head & 31), rootPlace, 1)
  const left = input.size - input.position
  if (left !== 0) fail(left < 0 ? 'the record ends early' : 'bytes after the end of the record')
  input.text = ''
  return record
}

/** Room to read words past the end of the record. */
const slack = 16

/** The record in hand. Fields of one object are reached quicker than variables of a module: by a sixth (bench: decode). */
const input = { size: 0, position: 0, text: '', ...recordMemory(slack) }

// Only what could read far or loop long past the end of the record is checked for it at once: a head or a key read there
// moves the position past the end, which `decodeRecord` sees at last.
function readMap(count: number, place: Shape, depth: number): RecordMap {
  if (count > (input.size - input.position) >> 1) fail('a map is longer than the record')
  if (depth > maxDepth) fail(`nested more than ${maxDepth} levels`)
  if (count === 0) return {}
  return count > maxMadeKeys ? readLongMap(count, place, depth) : readShortMap(count, place, depth)
}

/** The values are held in variables: storing each in an array that lives on would cost a write barrier. */
function readShortMap(count: number, place: Shape, depth: number): RecordMap {
  let [a, b, c, d]: [RecordValue, RecordValue, RecordValue, RecordValue] = [null, null, null, null]
  let [e, f, g, h]: [RecordValue, RecordValue, RecordValue, RecordValue] = [null, null, null, null]
  let shape = place
  for (let i = 0; i < count; i++) {
    if (input.position >= input.size) fail('the record ends early')
    shape = readKey(shape)
    const value = readField(shape, depth)
    if (i === 0) a = value
    else if (i === 1) b = value
    else if (i === 2) c = value
    else if (i === 3) d = value
    else if (i === 4) e = value
    else if (i === 5) f = value
    else if (i === 6) g = value
    else h = value
  }
  const { maker } = shape
  return maker === null ? makeMap(shape, [a, b, c, d, e, f, g, h]) : maker(a, b, c, d, e, f, g, h)
}

function readLongMap(count: number, place: Shape, depth: number): RecordMap {
  const map: RecordMap = {}
  let shape = place
  for (let i = 0; i < count; i++) {
    if (input.position >= input.size) fail('the record ends early')
    shape = readKey(shape)
    storeField(map, shape.name, readField(shape, depth))
  }
  return map
}

/** Most values are strings. */
function readField(shape: Shape, depth: number): RecordValue {
  const head = input.octets[input.position] ?? 0
  if (head >> 5 !== 3) return readValue(shape, depth)
  input.position++
  return readString(head & 31)
}

/** Compares what stands here with the keys known to follow; the order of a known pair was checked when it was first met. */
function readKey(previous: Shape): Shape {
  const { position, view } = input
  const word = view.getInt32(position, true)
  for (let shape = previous.next; shape !== null; shape = shape.other) {
    if ((word & shape.mask0) !== shape.word0) continue
    const { length } = shape
    if (length > 4) {
      if ((view.getInt32(position + 4, true) & shape.mask1) !== shape.word1) continue
      if (length > 8 && (view.getInt32(position + 8, true) & shape.mask2) !== shape.word2) continue
      if (length > 12 && !matchesFrom(12, shape.key)) continue
    }
    input.position = position + length
    return shape
  }
  return readNewKey(previous)
}

function matchesFrom(start: number, key: Uint8Array): boolean {
  let i = start
  while (i < key.length && input.octets[input.position + i] === key[i]) i++
  return i === key.length
}

function readNewKey(previous: Shape): Shape {
  const start = input.position
  const head = input.octets[input.position++] ?? 0
  if (head >> 5 !== 3) fail('a map key must be a string', start)
  const length = readCount(head & 31)
  if (length > input.size - input.position) fail('the record ends early')
  input.position += length
  if (!isUtf8(input.scratch.subarray(input.position - length, input.position))) fail('a map key is not UTF-8', start)
  const key = Uint8Array.from(input.scratch.subarray(start, input.position))
  if (previous.length > 0) {
    const order = Buffer.compare(previous.key, key)
    if (order === 0) fail('a map key is repeated', start)
    if (order > 0) fail('map keys are out of order', start)
  }
  return addShape(previous, key, input.scratch.utf8Slice(input.position - length, input.position))
}

function readValue(place: Shape, depth: number): RecordValue {
  const head = input.octets[input.position++] ?? 0
  const info = head & 31
  switch (head >> 5) {
    case 0:
      return readInteger(info, false)
    case 1:
      return readInteger(info, true)
    case 2:
      return readBytes(info)
    case 3:
      return readString(info)
    case 4:
      return readList(readCount(info), place, depth + 1)
    case 5:
      return readMap(readCount(info), placeInside(place), depth + 1)
    case 6:
      if (head !== 0xd8 || input.octets[input.position] !== 42) fail('the only tag is 42', input.position - 1)
      input.position++
      return readLink()
    default:
      return readSimple(head)
  }
}

function readList(count: number, place: Shape, depth: number): RecordValue[] {
  if (count > input.size - input.position) fail('a list is longer than the record')
  if (depth > maxDepth) fail(`nested more than ${maxDepth} levels`)
  if (count === 1) return [readValue(place, depth)] // a list that is pushed to makes room for 17 items
  const list: RecordValue[] = []
  for (let i = 0; i < count; i++) list.push(readValue(place, depth))
  return list
}

function readString(info: number): string {
  const length = info < 24 ? info : readCount(info)
  const start = input.position
  const end = start + length
  if (end > input.size) fail('the record ends early')
  input.position = end
  if (isAscii(start, end)) return input.text.substring(start, end)
  const string = input.scratch.utf8Slice(start, end)
  if (string.includes('\ufffd') && !isUtf8(input.scratch.subarray(start, end))) fail('a string is not UTF-8', start)
  return string
}

function isAscii(start: number, end: number): boolean {
  let seen = 0
  let at = start
  for (; at + 4 <= end; at += 4) seen |= input.view.getInt32(at, true)
  if (at < end) seen |= input.view.getInt32(at, true) & ~(-1 << ((end - at) * 8))
  return (seen & 0x80808080) === 0
}

function readBytes(info: number): Uint8Array {
  const length = readCount(info)
  if (length > input.size - input.position) fail('the record ends early')
  input.position += length
  return input.octets.slice(input.position - length, input.position)
}

/** A byte string of a zero byte and a binary CID. */
function readLink(): CID {
  const start = input.position
  if (input.octets[start] === 0x58 && input.octets[start + 1] === 37 && input.size - start >= 39) {
    const at = start + 3
    if (
      input.octets[start + 2] === 0 &&
      input.octets[at] === 1 &&
      input.octets[at + 2] === 0x12 &&
      input.octets[at + 3] === 32
    ) {
      if ((input.octets[at + 1] ?? 0) < 128) {
        input.position = at + 36
        return makeLink(input.octets.slice(at, input.position))
      }
    }
  }
  return readUnusualLink()
}

function readUnusualLink(): CID {
  const start = input.position
  const head = input.octets[input.position++] ?? 0
  if (input.position > input.size || head >> 5 !== 2) fail('a link must be a byte string', start)
  const bytes = readBytes(head & 31)
  if (bytes[0] !== 0) fail('a link must begin with a zero byte', start)
  const cid = bytes.slice(1)
  try {
    const decoded = CID.decode(cid) // takes one of version 0 that has a codec, and leaves that away
    if (Buffer.compare(decoded.bytes, cid) === 0) return decoded
  } catch (cause) {
    throw invalid('a link holds no CID', start, cause)
  }
  throw invalid('a link holds a CID of version 0 that has a codec', start)
}

function readSimple(head: number): RecordValue {
  if (head === 0xf4) return false
  if (head === 0xf5) return true
  if (head === 0xf6) return null
  if (head !== 0xfb) fail('a simple value, or a float of less than 64 bits', input.position - 1)
  if (input.size - input.position < 8) fail('the record ends early')
  const value = input.view.getFloat64(input.position)
  if (!Number.isFinite(value)) fail('a float that is no number', input.position - 1)
  input.position += 8
  return value
}

function readInteger(info: number, negative: boolean): number | bigint {
  const magnitude = info < 24 ? info : readCount(info)
  const value = negative ? -1 - magnitude : magnitude
  if (Number.isSafeInteger(value)) return value
  const exact = input.view.getBigUint64(input.position - 8)
  return negative ? -1n - exact : exact
}

/** The argument of a head, which must be as short as it can be. Beyond 2^53 it is rounded: too long for any length. */
function readCount(info: number): number {
  if (info < 24) return info
  if (info !== 24) return readLongCount(info)
  if (input.position >= input.size) fail('the record ends early')
  const count = input.octets[input.position++] ?? 0
  if (count < 24) fail('a number is not in its shortest form', input.position - 2)
  return count
}

function readLongCount(info: number): number {
  const start = input.position - 1
  if (info > 27) fail('an indefinite length or a reserved head', start)
  const bytes = 1 << (info - 24)
  if (input.size - input.position < bytes) fail('the record ends early')
  input.position += bytes
  let count = bytes === 2 ? input.view.getUint16(input.position - 2) : input.view.getUint32(input.position - 4)
  if (bytes === 8) count += input.view.getUint32(input.position - 8) * 2 ** 32
  if (count < (bytes === 2 ? 2 ** 8 : bytes === 4 ? 2 ** 16 : 2 ** 32))
    fail('a number is not in its shortest form', start)
  return count
}

function fail(message: string, offset = input.position): never {
  throw invalid(message, Math.min(offset, input.size))
}

function invalid(message: string, offset: number, cause?: unknown): RepoStreamError {
  input.text = ''
  return new RepoStreamError('RecordInvalid', `record byte ${offset}: ${message}`, { offset, cause })
}
