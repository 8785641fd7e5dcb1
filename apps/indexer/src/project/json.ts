// Turns one CBOR value into JSON text, without objects, by the conventions of the atproto data model:
// a link is {"$link": "bafy..."}, bytes are {"$bytes": base64 without padding}. Integers keep all their digits.
import { type CborReader, cborFalse, cborFloat64, cborMajor, cborNull } from './cbor.ts'
import { writeCidText } from './cid.ts'
import { projectionLimits } from './limits.ts'
import type { Output } from './text.ts'

/** Set in `Output.flaws` when a negative zero, which jsonb does not keep, became 0. */
const jsonNegativeZero = 4

/** Reads one value at the reader's position and appends its JSON. The room needed is at most 14 times the value's bytes. */
export function writeJson(reader: CborReader, output: Output, depth: number): void {
  const at = reader.position
  reader.readHead()
  const { major } = reader
  if (major === cborMajor.text) {
    const start = reader.takeBody()
    output.copyJsonString(reader, start, reader.position)
  } else if (major === cborMajor.map) {
    if (depth >= projectionLimits.maxDepth) reader.failTooDeep(at)
    writeMap(reader, output, depth)
  } else if (major === cborMajor.array) {
    if (depth >= projectionLimits.maxDepth) reader.failTooDeep(at)
    writeArray(reader, output, depth)
  } else if (major <= cborMajor.negative) {
    writeInteger(reader, output)
  } else if (major === cborMajor.bytes) {
    const start = reader.takeBody()
    writeAscii(output, '{"$bytes":"')
    writeBase64(reader.bytes, start, reader.position, output)
    writeAscii(output, '"}')
  } else if (major === cborMajor.tag) {
    const start = reader.readLink(at)
    writeAscii(output, '{"$link":"')
    output.length = writeCidText(reader.bytes, start, reader.position, output.bytes, output.length)
    writeAscii(output, '"}')
  } else {
    reader.checkSimple(at)
    writeSimple(reader, output, at)
  }
}

function writeMap(reader: CborReader, output: Output, depth: number): void {
  const count = reader.checkCount(2)
  const { bytes } = output
  bytes[output.length++] = openBrace
  let previousStart = 0
  let previousLength = -1
  for (let i = 0; i < count; i++) {
    if (i > 0) bytes[output.length++] = comma
    const start = reader.readKey()
    const length = reader.argument
    if (length <= previousLength) reader.checkKeyOrder(previousStart, previousLength, start)
    previousStart = start
    previousLength = length
    output.places.note(reader.bytes[start] ?? 0, length, output.length - 1)
    output.copyJsonString(reader, start, start + length)
    bytes[output.length++] = colon
    writeJson(reader, output, depth + 1)
  }
  bytes[output.length++] = closeBrace
}

function writeArray(reader: CborReader, output: Output, depth: number): void {
  const count = reader.checkCount(1)
  const { bytes } = output
  bytes[output.length++] = openBracket
  for (let i = 0; i < count; i++) {
    if (i > 0) bytes[output.length++] = comma
    writeJson(reader, output, depth + 1)
  }
  bytes[output.length++] = closeBracket
}

function writeInteger(reader: CborReader, output: Output): void {
  const negative = reader.major === cborMajor.negative
  const { argument } = reader
  if (argument < 1e9 && !negative) {
    writeDigits(output, argument)
  } else if (argument < Number.MAX_SAFE_INTEGER) {
    writeAscii(output, String(negative ? -1 - argument : argument))
  } else {
    const exact = reader.view.getBigUint64(reader.position - 8)
    writeAscii(output, String(negative ? -1n - exact : exact))
  }
}

/** Sizes and places, of which posts have many: without a string for each. */
function writeDigits(output: Output, value: number): void {
  const { bytes } = output
  let count = 1
  for (let limit = 10; limit <= value; limit *= 10) count++
  output.length += count
  for (let rest = value | 0, i = output.length - 1; count > 0; count--, i--) {
    const tenth = (rest / 10) | 0
    bytes[i] = 0x30 + rest - tenth * 10
    rest = tenth
  }
}

function writeSimple(reader: CborReader, output: Output, at: number): void {
  const initial = reader.bytes[at]
  if (initial === cborFloat64) {
    const value = reader.view.getFloat64(at + 1)
    if (Object.is(value, -0)) output.flaws |= jsonNegativeZero
    writeAscii(output, String(value))
  } else {
    writeAscii(output, initial === cborNull ? 'null' : initial === cborFalse ? 'false' : 'true')
  }
}

function writeAscii(output: Output, text: string): void {
  const { bytes } = output
  let out = output.length
  for (let i = 0; i < text.length; i++) bytes[out++] = text.charCodeAt(i)
  output.length = out
}

function writeBase64(source: Uint8Array, start: number, end: number, output: Output): void {
  const target = output.bytes
  let out = output.length
  let position = start
  for (; position + 2 < end; position += 3) {
    const three = ((source[position] ?? 0) << 16) | ((source[position + 1] ?? 0) << 8) | (source[position + 2] ?? 0)
    target[out++] = base64[three >> 18] ?? 0
    target[out++] = base64[(three >> 12) & 63] ?? 0
    target[out++] = base64[(three >> 6) & 63] ?? 0
    target[out++] = base64[three & 63] ?? 0
  }
  if (position < end) {
    const two = ((source[position] ?? 0) << 8) | (position + 1 < end ? (source[position + 1] ?? 0) : 0)
    target[out++] = base64[two >> 10] ?? 0
    target[out++] = base64[(two >> 4) & 63] ?? 0
    if (position + 1 < end) target[out++] = base64[(two << 2) & 63] ?? 0
  }
  output.length = out
}

const comma = 0x2c
const colon = 0x3a
const openBrace = 0x7b
const closeBrace = 0x7d
const openBracket = 0x5b
const closeBracket = 0x5d
const base64 = new TextEncoder().encode('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/')
