// Writes single columns in the binary COPY format (int32 length, then the value; -1 is null) from a place in a CBOR block.
// A value that Postgres cannot hold exactly is repaired or nulled, and the place of its original is noted beside the row.
import type { Column, ColumnType } from '../config.ts'
import { type CborReader, cborFalse, cborMajor, cborNull, cborTrue } from './cbor.ts'
import { writeCidBytes } from './cid.ts'
import { datetimeOutcome, writeDatetime } from './datetime.ts'
import { writeJson } from './json.ts'
import { projectionLimits } from './limits.ts'
import { type OddityCode, oddityNumber } from './oddity.ts'
import { Output, textFlaw } from './text.ts'

/** `FieldWriter.oddities` holds this many numbers for each: column, code, and start and end of the original in the block. */
export const numbersPerOddity = 4

export class FieldWriter extends Output {
  readonly oddities: number[] = []
  /** Set by a writer that stored something other than the original, but not null. */
  #repair: OddityCode | undefined

  writeNull(): void {
    this.#int32At(this.length, -1)
    this.length += 4
  }

  noteOddity(column: number, code: OddityCode, start: number, end: number): void {
    this.oddities.push(column, oddityNumber[code], start, end)
  }

  /** Writes the value at `at`, which has been checked to be well-formed, as `column`, the `index`th of its table. */
  writeColumn(reader: CborReader, column: Column, index: number, at: number): void {
    this.#repair = undefined
    reader.position = at
    let odd: OddityCode | undefined
    if (column.part === undefined) {
      odd = this.#writeField(reader, column.type, column.maxBytes)
    } else {
      const found = findBlobPart(reader, column.part)
      if (found === 'WrongType') odd = column.part === 'cid' ? found : undefined
      if (found === 'there') odd = this.#writeField(reader, column.type, column.maxBytes)
      else this.writeNull()
    }
    odd ??= this.#repair
    if (odd === undefined) return
    reader.position = at
    reader.skip(0)
    this.noteOddity(index, odd, at, reader.position)
  }

  /** Writes length and value, or a null and says why. */
  #writeField(reader: CborReader, type: ColumnType, maxBytes: number): OddityCode | undefined {
    const before = this.length
    this.length += 4
    const odd = this.#writeValue(reader, type, maxBytes)
    if (odd === undefined) {
      this.#int32At(before, this.length - before - 4)
    } else {
      this.length = before
      this.writeNull()
    }
    return odd
  }

  #writeValue(reader: CborReader, type: ColumnType, maxBytes: number): OddityCode | undefined {
    switch (type) {
      case 'text':
      case 'at-uri':
      case 'did':
        return this.#writeText(reader, maxBytes)
      case 'timestamptz':
        return this.#writeTimestamp(reader)
      case 'cid':
        return this.#writeCid(reader)
      case 'int8':
        return this.#writeInt8(reader)
      case 'bool':
        return this.#writeBool(reader)
      case 'bytea':
        return this.#writeBytes(reader)
      case 'jsonb':
        return this.#writeJsonb(reader)
      default:
        return this.#writeArray(reader, elementTypes[type], maxBytes)
    }
  }

  #writeText(reader: CborReader, maxBytes: number): OddityCode | undefined {
    reader.readHead()
    if (reader.major !== cborMajor.text) return 'WrongType'
    const start = reader.takeBody()
    const value = this.length
    this.flaws = 0
    if (reader.position - start <= maxBytes) this.copyText(reader.bytes, start, reader.position)
    if (reader.position - start > maxBytes || this.length - value > maxBytes) {
      return maxBytes < projectionLimits.maxTextBytes ? 'TextTooLongForIndex' : 'TextTooLong'
    }
    if (this.flaws !== 0) this.#repair = repairOf(this.flaws)
    return undefined
  }

  #writeTimestamp(reader: CborReader): OddityCode | undefined {
    reader.readHead()
    if (reader.major !== cborMajor.text) return 'WrongType'
    const start = reader.takeBody()
    const outcome = writeDatetime(reader.bytes, start, reader.position, this.bytes, this.length)
    if (outcome === datetimeOutcome.malformed) return 'DatetimeMalformed'
    if (outcome === datetimeOutcome.outOfRange) return 'DatetimeOutOfRange'
    if (outcome === datetimeOutcome.rounded) this.#repair = 'DatetimeTooFine'
    this.length += 8
    return undefined
  }

  /** A link, or the text of a CID, as the whole binary CID. */
  #writeCid(reader: CborReader): OddityCode | undefined {
    const at = reader.position
    reader.readHead()
    if (reader.major === cborMajor.tag) {
      reader.position = at
      this.#copyBytes(reader, reader.readLink())
      return undefined
    }
    if (reader.major !== cborMajor.text) return 'WrongType'
    const start = reader.takeBody()
    const end = writeCidBytes(reader.bytes, start, reader.position, this.bytes, this.length)
    if (end < 0) return 'CidMalformed'
    this.length = end
    return undefined
  }

  #writeInt8(reader: CborReader): OddityCode | undefined {
    const at = reader.position
    reader.readHead()
    if (reader.major > cborMajor.negative) {
      return reader.bytes[at] === 0xfb ? 'NotAnInteger' : 'WrongType'
    }
    const flip = reader.major === cborMajor.negative ? 255 : 0
    const width = reader.position - at - 1
    const target = this.bytes
    const out = this.length
    if (width === 8) {
      if ((reader.bytes[at + 1] ?? 0) > 127) return 'IntegerOutOfRange'
      for (let i = 0; i < 8; i++) target[out + i] = (reader.bytes[at + 1 + i] ?? 0) ^ flip
    } else {
      const { argument } = reader
      for (let i = 0; i < 4; i++) target[out + i] = flip
      for (let i = 0; i < 4; i++) target[out + 4 + i] = ((argument >>> (24 - 8 * i)) & 255) ^ flip
    }
    this.length = out + 8
    return undefined
  }

  #writeBool(reader: CborReader): OddityCode | undefined {
    const value = reader.bytes[reader.position]
    reader.skip(0)
    if (value !== cborTrue && value !== cborFalse) return 'WrongType'
    this.bytes[this.length++] = value === cborTrue ? 1 : 0
    return undefined
  }

  #writeBytes(reader: CborReader): OddityCode | undefined {
    reader.readHead()
    if (reader.major !== cborMajor.bytes) return 'WrongType'
    this.#copyBytes(reader, reader.takeBody())
    return undefined
  }

  #writeJsonb(reader: CborReader): OddityCode | undefined {
    const before = this.length
    this.bytes[this.length++] = jsonbVersion
    this.flaws = 0
    writeJson(reader, this, 0)
    if (this.length - before > projectionLimits.maxJsonBytes) return 'JsonTooLong'
    if (this.flaws !== 0) this.#repair = repairOf(this.flaws)
    return undefined
  }

  #writeArray(reader: CborReader, element: ColumnType, maxBytes: number): OddityCode | undefined {
    reader.readHead()
    if (reader.major !== cborMajor.array) return 'WrongType'
    const count = reader.argument
    if (count > projectionLimits.maxArrayLength) return 'ArrayTooLong'
    const head = this.length
    this.#int32At(head, count === 0 ? 0 : 1)
    this.#int32At(head + 4, 0)
    this.#int32At(head + 8, elementOids[element] ?? 0)
    this.length += 12
    if (count === 0) return undefined
    this.#int32At(head + 12, count)
    this.#int32At(head + 16, 1)
    this.length += 8
    for (let i = 0; i < count; i++) {
      const at = reader.position
      if (reader.bytes[at] === cborNull) {
        this.writeNull()
        this.#int32At(head + 4, 1)
        reader.position = at + 1
        continue
      }
      const odd = this.#writeField(reader, element, maxBytes)
      if (odd === undefined) continue
      this.#int32At(head + 4, 1)
      this.#repair ??= odd
      reader.position = at
      reader.skip(0)
    }
    return undefined
  }

  #copyBytes(reader: CborReader, start: number): void {
    const { bytes } = reader
    const target = this.bytes
    let out = this.length
    for (let i = start; i < reader.position; i++) target[out++] = bytes[i] ?? 0
    this.length = out
  }

  #int32At(at: number, value: number): void {
    const { bytes } = this
    bytes[at] = value >> 24
    bytes[at + 1] = value >> 16
    bytes[at + 2] = value >> 8
    bytes[at + 3] = value
  }
}

const jsonbVersion = 1

const elementTypes = {
  'text[]': 'text',
  'int8[]': 'int8',
  'bool[]': 'bool',
  'timestamptz[]': 'timestamptz',
  'cid[]': 'cid',
  'bytea[]': 'bytea',
} as const

const elementOids: Readonly<Partial<Record<ColumnType, number>>> = {
  text: 25,
  int8: 20,
  bool: 16,
  timestamptz: 1184,
  cid: 17,
  bytea: 17,
}

function repairOf(flaws: number): OddityCode {
  if ((flaws & textFlaw.nul) !== 0) return 'TextNul'
  return (flaws & textFlaw.notUtf8) !== 0 ? 'TextNotUtf8' : 'NegativeZero'
}

const blobKeys = { cid: ['ref', 'cid'], mime: ['mimeType'], size: ['size'] } as const
const blobKeyBytes = new Map(
  Object.values(blobKeys)
    .flat()
    .map((key) => [key, new TextEncoder().encode(key)]),
)

/** Moves the reader to a part of the blob that starts here. Blobs from before 2023 have their CID as text under `cid`. */
function findBlobPart(reader: CborReader, part: keyof typeof blobKeys): 'there' | 'absent' | 'WrongType' {
  const at = reader.position
  for (const key of blobKeys[part]) {
    reader.position = at
    reader.readHead()
    if (reader.major !== cborMajor.map) return 'WrongType'
    const wanted = blobKeyBytes.get(key) ?? new Uint8Array(0)
    const count = reader.argument
    for (let i = 0; i < count; i++) {
      const start = reader.readKey()
      if (reader.argument === wanted.length && wanted.every((byte, j) => byte === reader.bytes[start + j])) {
        if (reader.bytes[reader.position] === cborNull) break
        return 'there'
      }
      reader.skip(0)
    }
  }
  return 'absent'
}
