// Projects one record: DAG-CBOR bytes in, the binary COPY fields of one table's row out. Two passes, no objects: the first
// walks the record and notes where each column's value starts, the second writes the columns in order from those places.
import type { Table } from '../config.ts'
import { type CborReader, cborMajor, cborNull, refuseRepeatedKeys } from './cbor.ts'
import { compilePaths, type PathKey, type PathNode, wholeRecordSlot } from './compile.ts'
import { type Field, fieldOf } from './field.ts'
import type { FieldWriter } from './fields.ts'
import { projectionLimits } from './limits.ts'

/** A value that is written takes at most this many times its CBOR bytes (an empty byte string as JSON, with its comma). */
const mostGrowth = 14
const bytesPerField = 12

export class Projector {
  readonly table: Table
  /** The `$type` of this table's records; empty for the generic table. */
  readonly typeBytes: Uint8Array
  readonly #root: PathNode
  readonly #slots: Int32Array
  readonly #columnSlots: readonly (readonly number[])[]
  readonly #fields: readonly Field[]
  /** Of each column of the record in hand: where its value lies, or `absent`, or another negative number as in a slot. */
  readonly #places: Int32Array
  readonly #mostCopies: number
  readonly #wantsOnlyWhole: boolean

  constructor(table: Table) {
    this.table = table
    this.typeBytes = new TextEncoder().encode(table.generic ? '' : table.collections[0])
    const compiled = compilePaths(table.columns)
    this.#root = compiled.root
    this.#slots = new Int32Array(compiled.slotCount)
    this.#columnSlots = compiled.columnSlots
    this.#fields = table.columns.map(fieldOf)
    this.#places = new Int32Array(table.columns.length)
    this.#mostCopies = compiled.mostCopies
    this.#wantsOnlyWhole = compiled.root.keys.length === 0 && table.columns.length === 1
  }

  /** Room for the fields of a record of `length` bytes. */
  roomFor(length: number): number {
    return this.#columnSlots.length * bytesPerField + length * mostGrowth * this.#mostCopies
  }

  /**
   * Where the columns' values lie in the record that was projected last, counted from `start`, its start. Undefined when that is of
   * no use, or when something is no map that should be one.
   */
  placesFrom(start: number): Int32Array | undefined {
    if (this.#wantsOnlyWhole) return undefined
    const places = this.#places.map((at) => (at >= 0 ? at - start : at))
    return places.every((at) => at >= 0 || at === absent) ? places : undefined
  }

  /**
   * Appends the row's fields. Throws CborError for a block that is no record; what was appended is then worthless. `known`:
   * where its values lie, counted from its start, if that has been found out.
   */
  project(reader: CborReader, writer: FieldWriter, known?: Int32Array): void {
    if (known !== undefined) {
      this.#write(reader, writer, known, reader.start)
      return
    }
    this.#findAll(reader)
    this.#choose(reader)
    this.#write(reader, writer, this.#places, 0)
    if (this.#wantsOnlyWhole) finish(reader)
  }

  #findAll(reader: CborReader): void {
    const slots = this.#slots
    for (let i = 0; i < slots.length; i++) slots[i] = absent
    reader.readHead()
    if (reader.major !== cborMajor.map) reader.fail('a record that is no map', reader.start)
    slots[wholeRecordSlot] = reader.start
    if (this.#wantsOnlyWhole) return // writing reads, and so checks, every byte: 1.3x faster than to look through it before
    this.#find(reader, this.#root, 0)
    finish(reader)
  }

  #find(reader: CborReader, node: PathNode, depth: number): void {
    const count = reader.checkCount(2)
    const { keys } = node
    let next = 0
    let previousStart = 0
    let previousLength = -1
    for (let i = 0; i < count; i++) {
      const start = reader.readKey()
      const length = reader.argument
      if (length <= previousLength) {
        reader.checkKeyOrder(previousStart, previousLength, start)
        if (length < previousLength) next = 0
      }
      previousStart = start
      previousLength = length
      let key = keys[next]
      while (key !== undefined && key.length < length) key = keys[++next]
      let candidate = next
      while (key !== undefined && key.length === length && !isText(key.bytes, reader.bytes, start, length)) {
        key = keys[++candidate]
      }
      if (key !== undefined && key.length === length) this.#enter(reader, key, depth + 1)
      else reader.skip(depth + 1)
    }
  }

  #enter(reader: CborReader, key: PathKey, depth: number): void {
    const at = reader.position
    if (key.slot >= 0) this.#slots[key.slot] = at
    if (key.inside === undefined) {
      reader.skip(depth)
      return
    }
    reader.readHead()
    if (reader.major === cborMajor.map) {
      if (depth >= projectionLimits.maxDepth) reader.failTooDeep(at)
      this.#find(reader, key.inside, depth)
    } else {
      reader.position = at
      reader.skip(depth)
      if (reader.bytes[at] !== cborNull) for (const slot of key.slotsInside) this.#slots[slot] = -1 - at
    }
  }

  /** Of each column the first value that is there and not null. */
  #choose(reader: CborReader): void {
    const places = this.#places
    const slots = this.#slots
    for (let i = 0; i < places.length; i++) {
      const candidates = this.#columnSlots[i]
      let at = absent
      for (let j = 0; candidates !== undefined && j < candidates.length && at < 0; j++) {
        const place = slots[candidates[j] ?? 0] ?? absent
        if (place >= 0 ? reader.bytes[place] !== cborNull : at === absent) at = place
      }
      places[i] = at
    }
  }

  /** Places are counted from `start`. */
  #write(reader: CborReader, writer: FieldWriter, places: Int32Array, start: number): void {
    const fields = this.#fields
    for (let i = 0; i < fields.length; i++) {
      const field = fields[i]
      const at = places[i] ?? absent
      if (field !== undefined && at >= 0) {
        writer.writeColumn(reader, field, start + at)
      } else {
        writer.writeNull()
        if (at !== absent) writer.noteOddity(reader, i, 'WrongType', -1 - at)
      }
    }
  }
}

/** A slot whose value the record does not have. Other negative numbers: -1 - the offset of something that should be a map. */
const absent = -0x8000_0000

/** At what must be the end of the record. */
function finish(reader: CborReader): void {
  if (reader.position !== reader.end) reader.fail('bytes after the record')
  if (!reader.sawUnsortedKeys) return
  reader.rewind()
  refuseRepeatedKeys(reader)
}

export function isText(expected: Uint8Array, bytes: Uint8Array, start: number, length: number): boolean {
  if (length !== expected.length) return false
  for (let i = length - 1; i >= 0; i--) if (expected[i] !== bytes[start + i]) return false
  return true
}
