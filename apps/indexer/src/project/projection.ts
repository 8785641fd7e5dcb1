// What repo-stream calls for every record block (`process`), and what turns walked entries into rows (`settle`).
// One per thread: it owns the scratch memory that its answers are views of. The surprise: `process` knows only the block's
// `$type`; the key, which decides, comes with the walk, so an answer made for another table asks for a second walk.
import type { Entry, Memory, Place } from 'repo-stream'
import type { Config, Table } from '../config.ts'
import { type Answer, giveAnswer, oddityHead, oddRowHead, type RowFields, rowHead, tag } from './answer.ts'
import { CborError, CborReader, cborMajor } from './cbor.ts'
import { FieldWriter, numbersPerOddity } from './fields.ts'
import { Layouts } from './layouts.ts'
import { projectionLimits } from './limits.ts'
import type { OddityCode } from './oddity.ts'
import { isText, Projector } from './projector.ts'
import { createTableFinder, isNsid, isUsableKey, maxNsidLength } from './tables.ts'

/** Where settled entries go. `RowFields` and `Uint8Array`s are valid only during the call. */
export interface ProjectionSink {
  row(table: Table, entry: Entry, fields: RowFields): void
  /** A value that was repaired or nulled. `original` is the CBOR of the column's whole value. */
  oddity(table: Table, entry: Entry, column: string, code: OddityCode, original: Uint8Array): void
  /** A record that cannot be a row. `bytes` is its block. */
  reject(entry: Entry, code: RejectCode, message: string, bytes: Uint8Array): void
  /** The config leaves this collection out. */
  skipped(collection: string): void
  /** The block stands under a collection that wants another projector: walk once more with this digest in `keepRaw`. */
  again(entry: Entry): void
}

export type RejectCode = 'RecordMalformed' | 'RecordTooDeep' | 'RecordKeyUnusable'

export interface Projection {
  /** For repo-stream. The answer is a view of scratch memory, valid until the next call. Never throws. */
  process(block: Uint8Array, digest: Uint8Array, place: Place): Uint8Array
  /** Makes exactly one call of `sink` for the entry, and one more for each oddity of a row. */
  settle(entry: Entry, sink: ProjectionSink): void
}

export type KeepRaw = ReadonlySet<string> | 'all'

export interface ProjectionOptions {
  /** Digests (as latin1 text) to keep raw: those for which an earlier walk called `again`; or there were too many to tell. */
  keepRaw?: KeepRaw
}

export function createProjection(config: Config, options: ProjectionOptions = {}): Projection {
  return new CompiledProjection(config, options.keepRaw ?? new Set())
}

const skipAnswer = new Uint8Array([tag.skip])
/** Where a row without oddities starts in the scratch. */
const rowStart = oddRowHead - rowHead
/** Of an answer whose view is kept for the next one of this length: 0.2 MB of views at most. */
const maxKnownAnswerBytes = 2048
const initialScratchBytes = 65_536
/** Types are compared one after the other; the rest of a long tail is looked up by name. */
const maxKnownTypes = 64

class CompiledProjection implements Projection {
  readonly #projectors: readonly Projector[]
  /** Those of typed tables, and then the first others that come along. */
  readonly #types: { readonly bytes: Uint8Array; readonly projector: Projector | 'skip' }[]
  readonly #findTable: (collection: string) => Table | undefined
  readonly #keepRaw: KeepRaw
  readonly #reader = new CborReader()
  readonly #writer = new FieldWriter()
  readonly #layouts = new Layouts()
  /** The one that sinks see: an answer first, then the fields in it. */
  readonly #fields: Answer = { memory: noMemory, from: 0, to: 0 }
  /** Views of the scratch from `rowStart`, by their lengths. */
  readonly #answers = new Array<Uint8Array | undefined>(maxKnownAnswerBytes + 1).fill(undefined)

  constructor(config: Config, keepRaw: KeepRaw) {
    this.#projectors = config.tables.map((table) => new Projector(table))
    this.#types = this.#projectors
      .filter((projector) => !projector.table.generic)
      .map((projector) => ({ bytes: projector.typeBytes, projector }))
    this.#findTable = createTableFinder(config)
    this.#keepRaw = keepRaw
    this.#makeRoom(initialScratchBytes)
  }

  process(block: Uint8Array, digest: Uint8Array, place: Place): Uint8Array {
    const raw = this.#keepRaw
    if (raw === 'all' || (raw.size > 0 && raw.has(Buffer.from(digest).toString('latin1'))))
      return this.#keepBytes(block)
    const reader = this.#reader
    reader.open(place)
    try {
      const layout = this.#layouts.recall(reader)
      const projector = layout?.projector ?? this.#projectorByType(reader)
      if (projector === 'raw') return this.#keepBytes(block)
      if (projector === 'skip') return skipAnswer
      const typeEnd = reader.position
      this.#project(projector, block, layout?.places)
      if (layout === undefined) this.#layouts.learn(reader, projector, typeEnd)
      return this.#answerOf(this.#finish(projector), this.#writer.length)
    } catch (error) {
      if (error instanceof CborError) return this.#keepBytes(block)
      throw error
    }
  }

  settle(entry: Entry, sink: ProjectionSink): void {
    const table = this.#findTable(entry.collection)
    if (entry.error !== undefined) throw entry.error
    if (table === undefined) {
      sink.skipped(isNsid(entry.collection) ? entry.collection : invalidCollection)
      return
    }
    const { record, dataFrom, dataTo } = entry
    const { bytes, view } = record
    if (bytes[dataFrom] === tag.raw) {
      this.#settleRaw(entry, table, sink)
    } else if (
      bytes[dataFrom] === tag.skip ||
      view.getUint16(dataFrom + 1) !== table.index ||
      !isUsableKey(entry, table)
    ) {
      sink.again(entry)
    } else {
      this.#fields.memory = record
      this.#fields.from = dataFrom
      this.#fields.to = dataTo
      giveAnswer(this.#fields, { entry, table }, sink)
    }
  }

  #settleRaw(entry: Entry, table: Table, sink: ProjectionSink): void {
    const { record: memory, dataFrom, dataTo: to } = entry
    const block = entry.data.subarray(1)
    if (!isUsableKey(entry, table)) {
      sink.reject(
        entry,
        'RecordKeyUnusable',
        'the key is too long or has characters that no record key may have',
        block,
      )
      return
    }
    const projector = this.#projectors[table.index]
    if (projector === undefined)
      throw new RangeError(`table ${table.name} has index ${table.index}, which no projector has`)
    try {
      this.#reader.open({ memory, from: dataFrom + 1, to })
      this.#project(projector, block)
      this.#noteOtherType(projector, this.#reader)
      this.#fields.from = this.#finish(projector)
    } catch (error) {
      if (!(error instanceof CborError)) throw error
      sink.reject(entry, error.tooDeep ? 'RecordTooDeep' : 'RecordMalformed', error.message, block)
      return
    }
    const { bytes, view, length } = this.#writer
    this.#fields.memory = { bytes, view }
    this.#fields.to = length
    giveAnswer(this.#fields, { entry, table }, sink)
  }

  /** Looks for `$type` among the top keys. Keys come in order of length, so this passes only short ones. */
  #projectorByType(reader: CborReader): Projector | 'raw' | 'skip' {
    if (!this.#findType(reader)) return 'raw'
    const { bytes } = reader
    const length = reader.argument
    const start = reader.takeBody()
    if (length > maxNsidLength) return 'raw' // of no collection, and as long as a stranger likes: nothing may remember it
    for (const type of this.#types) if (isText(type.bytes, bytes, start, length)) return type.projector
    const type = Buffer.from(bytes.buffer, bytes.byteOffset + start, length).toString('latin1')
    const table = this.#findTable(type)
    const projector = table === undefined ? 'skip' : (this.#projectors[table.index] ?? 'skip')
    if (this.#types.length < maxKnownTypes) {
      this.#types.push({ bytes: bytes.slice(start, start + length), projector })
    }
    return projector
  }

  /** Moves to the text of `$type`, its head read. False when there is none where it should be. */
  #findType(reader: CborReader): boolean {
    reader.readHead()
    if (reader.major !== cborMajor.map) return false
    const count = reader.checkCount(2)
    for (let i = 0; i < count; i++) {
      const key = reader.readKey()
      if (reader.argument > typeKey.length) return false
      if (isText(typeKey, reader.bytes, key, reader.argument)) {
        reader.readHead()
        return reader.major === cborMajor.text
      }
      reader.skip(1)
    }
    return false
  }

  /** Writes the fields of a row behind the room for its head. */
  #project(projector: Projector, block: Uint8Array, known?: Int32Array): void {
    const writer = this.#writer
    const reader = this.#reader
    writer.length = 0
    if (writer.oddities.length > 0) writer.oddities.length = 0
    this.#makeRoom(oddRowHead + projector.roomFor(block.length))
    writer.length = oddRowHead
    reader.rewind()
    projector.project(reader, writer, known)
  }

  /** Leaves an answer in the scratch, up to the writer's place; gives where it starts. */
  #finish(projector: Projector): number {
    const writer = this.#writer
    const odd = writer.oddities.length > 0
    const start = odd ? 0 : rowStart
    const fieldsLength = writer.length - oddRowHead
    if (odd) this.#appendOddities(this.#reader)
    const { bytes } = writer
    const { index } = projector.table
    bytes[start] = odd ? tag.oddRow : tag.row
    bytes[start + 1] = index >> 8
    bytes[start + 2] = index
    if (odd) writer.view.setUint32(rowHead, fieldsLength)
    return start
  }

  /** A view of the scratch: most answers start at the same place, and few have another length than one before them. */
  #answerOf(start: number, end: number): Uint8Array {
    const { bytes } = this.#writer
    const length = end - start
    if (start !== rowStart || length > maxKnownAnswerBytes) return bytes.subarray(start, end)
    const known = this.#answers[length]
    if (known !== undefined) return known
    const answer = bytes.subarray(start, end)
    this.#answers[length] = answer
    return answer
  }

  /** A record under a key of another collection than its `$type` says. The generic table's column holds it whole. */
  #noteOtherType(projector: Projector, reader: CborReader): void {
    if (projector.table.generic) return
    reader.rewind()
    reader.readHead()
    const count = reader.argument
    for (let i = 0; i < count; i++) {
      const key = reader.readKey()
      const isType = isText(typeKey, reader.bytes, key, reader.argument)
      const at = reader.position
      reader.readHead()
      const start = reader.position
      const isTextValue = reader.major === cborMajor.text
      reader.position = at
      reader.skip(1)
      if (!isType) continue
      const fits = isTextValue && isText(projector.typeBytes, reader.bytes, start, reader.position - start)
      if (!fits) this.#writer.noteOddity(reader, noColumn, 'TypeDiffers', at)
      return
    }
  }

  #appendOddities(reader: CborReader): void {
    const writer = this.#writer
    const { oddities } = writer
    let more = 0
    for (let i = 0; i < oddities.length; i += numbersPerOddity) {
      more += oddityHead + (oddities[i + 3] ?? 0) - (oddities[i + 2] ?? 0)
    }
    this.#makeRoom(writer.length + more)
    const { view } = writer
    for (let i = 0; i < oddities.length; i += numbersPerOddity) {
      const start = oddities[i + 2] ?? 0
      const end = oddities[i + 3] ?? 0
      view.setUint16(writer.length, oddities[i] ?? 0)
      view.setUint8(writer.length + 2, oddities[i + 1] ?? 0)
      view.setUint32(writer.length + 3, end - start)
      writer.length += oddityHead
      writer.copyBytes(reader, start, end)
    }
  }

  #keepBytes(block: Uint8Array): Uint8Array {
    const writer = this.#writer
    writer.length = 0
    this.#makeRoom(1 + block.length)
    writer.bytes[0] = tag.raw
    writer.bytes.set(block, 1)
    return writer.bytes.subarray(0, 1 + block.length)
  }

  /** Grows the scratch and keeps what is written; gives a huge one back as soon as it is empty and not needed. */
  #makeRoom(room: number): void {
    const writer = this.#writer
    const { length } = writer.bytes
    const tooBig = length > projectionLimits.maxKeptScratchBytes && writer.length === 0
    if (length >= room && !tooBig) return
    writer.replaceRoom(new Uint8Array(Math.max(initialScratchBytes, room + (room >> 1))))
    this.#answers.fill(undefined)
  }
}

const noMemory: Memory = { bytes: new Uint8Array(0), view: new DataView(new ArrayBuffer(0)) }
const typeKey = new TextEncoder().encode('$type')
/** Stands for `$type` where an oddity's column is counted. */
const noColumn = 0xffff

/** Keys that no NSID begins are counted together: what a stranger wrote must not become a name in the database. */
const invalidCollection = '(invalid)'
