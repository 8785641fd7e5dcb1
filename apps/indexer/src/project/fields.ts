// Writes single columns in the binary COPY format (int32 length, then the value; -1 is null) from a place in a CBOR block.
// A value that Postgres cannot hold exactly is repaired or nulled, and the place of its original is noted beside the row.
import type { ColumnType } from '../config-types.ts'
import { type CborReader, cborFalse, cborFloat64, cborMajor, cborNull, cborTrue } from './cbor.ts'
import { maxCidBytes, writeCidBytes } from './cid.ts'
import { datetimeOutcome, writeDatetime } from './datetime.ts'
import type { BlobPart, Field } from './field.ts'
import { writeJson } from './json.ts'
import { projectionLimits } from './limits.ts'
import { type OddityCode, oddityNumber } from './oddity.ts'
import { type TextForm, textForms } from './short-forms.ts'
import { writeShortText } from './short-text.ts'
import { Output, textFlaw } from './text.ts'

/** `FieldWriter.oddities` holds this many numbers for each: column, code, and start and end of the original in the reader's bytes. */
export const numbersPerOddity = 4

export class FieldWriter extends Output {
  readonly oddities: number[] = []
  /** Set by a writer that stored something other than the original, but not null. */
  #repair: OddityCode | undefined

  writeNull(): void {
    this.view.setInt32(this.length, -1)
    this.length += 4
  }

  /** The value at `at`, whole, is the original. */
  noteOddity(reader: CborReader, column: number, code: OddityCode, at: number): void {
    reader.position = at
    reader.skip(0)
    this.oddities.push(column, oddityNumber[code], at, reader.position)
  }

  /** Writes the value at `at`, which has been checked to be well-formed. */
  writeColumn(reader: CborReader, field: Field, at: number): void {
    this.#repair = undefined
    reader.position = at
    const odd =
      field.part === undefined
        ? this.#writeField(reader, field.type, field.maxBytes)
        : this.#writeBlobPart(reader, field, field.part)
    if (odd !== undefined) this.noteOddity(reader, field.index, odd, at)
    else if (this.#repair !== undefined) this.noteOddity(reader, field.index, this.#repair, at)
  }

  #writeBlobPart(reader: CborReader, field: Field, part: BlobPart): OddityCode | undefined {
    const found = findBlobPart(reader, part)
    if (found === 'there') return this.#writeField(reader, field.type, field.maxBytes)
    this.writeNull()
    return found === 'WrongType' && part === 'cid' ? found : undefined
  }

  /** Writes length and value, or a null and says why. */
  #writeField(reader: CborReader, type: ColumnType, maxBytes: number): OddityCode | undefined {
    const before = this.length
    this.length += 4
    const odd = this.#writeValue(reader, type, maxBytes)
    if (odd === undefined) {
      this.view.setInt32(before, this.length - before - 4)
    } else {
      this.length = before
      this.writeNull()
    }
    return odd
  }

  #writeValue(reader: CborReader, type: ColumnType, maxBytes: number): OddityCode | undefined {
    switch (type) {
      case 'text':
        return this.#writeText(reader, maxBytes)
      case 'at-uri':
        return this.#writeText(reader, maxBytes, textForms['at-uri'])
      case 'did':
        return this.#writeText(reader, maxBytes, textForms.did)
      case 'timestamptz':
        return this.#writeTimestamp(reader)
      case 'cid':
        return this.#writeShortCid(reader)
      case 'int8':
        return this.#writeInt8(reader)
      case 'bool':
        return this.#writeBool(reader)
      case 'bytea':
        return this.#writeBytes(reader, maxBytes)
      case 'jsonb':
        return this.#writeJsonb(reader)
      default:
        return this.#writeArray(reader, elementTypes[type], maxBytes)
    }
  }

  #writeText(reader: CborReader, maxBytes: number, form?: TextForm): OddityCode | undefined {
    reader.readHead()
    if (reader.major !== cborMajor.text) return 'WrongType'
    const start = reader.takeBody()
    let bytes = reader.argument
    this.flaws = 0
    if (bytes <= maxBytes && form !== undefined) {
      bytes = writeShortText(reader, this, start, form)
    } else if (bytes <= maxBytes) {
      const value = this.length
      this.copyText(reader, start, reader.position)
      bytes = this.length - value
    }
    if (bytes > maxBytes) {
      return maxBytes < projectionLimits.maxTextBytes ? 'TextTooLongForIndex' : 'TextTooLong'
    }
    if (this.flaws !== 0) this.#repair ??= repairOf(this.flaws)
    return undefined
  }

  #writeTimestamp(reader: CborReader): OddityCode | undefined {
    reader.readHead()
    if (reader.major !== cborMajor.text) return 'WrongType'
    const start = reader.takeBody()
    const outcome = writeDatetime(reader, start, reader.position, this.bytes, this.length)
    if (outcome === datetimeOutcome.malformed) return 'DatetimeMalformed'
    if (outcome === datetimeOutcome.outOfRange) return 'DatetimeOutOfRange'
    if (outcome === datetimeOutcome.rounded) this.#repair ??= 'DatetimeTooFine'
    this.length += 8
    return undefined
  }

  /**
   * Most CIDs are those of records: of them the digest is enough, as `cid` has it. So the CID is written four bytes early, over
   * the field's length, which comes last. Another one is moved to its place, behind a zero if its length is a digest's.
   */
  #writeShortCid(reader: CborReader): OddityCode | undefined {
    const value = this.length
    const start = value - (recordCidBytes - digestBytes)
    this.length = start
    const odd = this.#writeCid(reader)
    if (odd !== undefined) return odd
    const { bytes } = this
    const length = this.length - start
    if (length === recordCidBytes && this.view.getInt32(start) === recordCidHead) return undefined
    const at = length === digestBytes ? value + 1 : value
    bytes.copyWithin(at, start, this.length)
    if (at > value) bytes[value] = 0
    this.length = at + length
    return undefined
  }

  /** A link, or the text of a CID, as the whole binary CID. */
  #writeCid(reader: CborReader): OddityCode | undefined {
    const at = reader.position
    reader.readHead()
    if (reader.major === cborMajor.tag) {
      const start = reader.readLink(at)
      if (reader.position - start > maxCidBytes) return 'CidMalformed'
      this.copyBytes(reader, start, reader.position)
      return undefined
    }
    if (reader.major !== cborMajor.text) return 'WrongType'
    const start = reader.takeBody()
    const end = writeCidBytes(reader, start, reader.position, this, this.length)
    if (end < 0) return 'CidMalformed'
    this.length = end
    return undefined
  }

  #writeInt8(reader: CborReader): OddityCode | undefined {
    const at = reader.position
    reader.readHead()
    if (reader.major > cborMajor.negative) {
      return reader.bytes[at] === cborFloat64 ? 'NotAnInteger' : 'WrongType'
    }
    const flip = reader.major === cborMajor.negative ? -1 : 0
    const { argument } = reader
    const wide = argument > 0xffff_ffff
    const high = wide ? reader.view.getInt32(reader.position - 8) : 0
    if (high < 0) return 'IntegerOutOfRange'
    this.view.setInt32(this.length, high ^ flip)
    this.view.setInt32(this.length + 4, (wide ? reader.view.getInt32(reader.position - 4) : argument) ^ flip)
    this.length += 8
    return undefined
  }

  #writeBool(reader: CborReader): OddityCode | undefined {
    const value = reader.bytes[reader.position]
    reader.skip(0)
    if (value !== cborTrue && value !== cborFalse) return 'WrongType'
    this.bytes[this.length++] = value === cborTrue ? 1 : 0
    return undefined
  }

  #writeBytes(reader: CborReader, maxBytes: number): OddityCode | undefined {
    reader.readHead()
    if (reader.major !== cborMajor.bytes) return 'WrongType'
    const start = reader.takeBody()
    if (reader.argument > maxBytes && maxBytes < projectionLimits.maxTextBytes) return 'TextTooLongForIndex'
    this.copyBytes(reader, start, reader.position)
    return undefined
  }

  #writeJsonb(reader: CborReader): OddityCode | undefined {
    const before = this.length
    this.flaws = 0
    this.places.clear()
    writeJson(reader, this, 0)
    if (this.length - before >= projectionLimits.maxJsonBytes) return 'JsonTooLong'
    if (this.flaws !== 0) this.#repair ??= repairOf(this.flaws)
    this.places.shorten(this)
    return undefined
  }

  #writeArray(reader: CborReader, element: ColumnType, maxBytes: number): OddityCode | undefined {
    reader.readHead()
    if (reader.major !== cborMajor.array) return 'WrongType'
    const count = reader.argument
    if (count > projectionLimits.maxArrayLength) return 'ArrayTooLong'
    const head = this.length
    const { view } = this
    view.setInt32(head, count === 0 ? 0 : 1)
    view.setInt32(head + 4, 0)
    view.setInt32(head + 8, elementOids[element] ?? 0)
    this.length += 12
    if (count === 0) return undefined
    view.setInt32(head + 12, count)
    view.setInt32(head + 16, 1)
    this.length += 8
    for (let i = 0; i < count; i++) {
      const at = reader.position
      if (reader.bytes[at] === cborNull) {
        this.writeNull()
        view.setInt32(head + 4, 1)
        reader.position = at + 1
        continue
      }
      const odd = this.#writeField(reader, element, maxBytes)
      if (odd === undefined) continue
      view.setInt32(head + 4, 1)
      this.#repair ??= odd
      reader.position = at
      reader.skip(0)
    }
    return undefined
  }
}

const digestBytes = 32
const recordCidBytes = 36
/** Version 1, DAG-CBOR, SHA-256, 32 bytes. */
const recordCidHead = 0x01711220

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
function findBlobPart(reader: CborReader, part: BlobPart): 'there' | 'absent' | 'WrongType' {
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
