// Projects one record: DAG-CBOR bytes in, the binary COPY fields of one table's row out. Two passes, no objects: the first
// walks the record and notes where each column's value starts, the second writes the columns in order from those places.
import type { Table } from '../config.ts'
import { CborError, type CborReader, cborMajor, cborNull, refuseRepeatedKeys } from './cbor.ts'
import { compilePaths, type PathKey, type PathNode, wholeRecordSlot } from './compile.ts'
import type { FieldWriter } from './fields.ts'
import { projectionLimits } from './limits.ts'

/** A value that is written takes at most this many times its CBOR bytes (an empty byte string as JSON, with its comma). */
const mostGrowth = 14
const bytesPerNullField = 12

export class Projector {
  readonly table: Table
  readonly #root: PathNode
  readonly #slots: Int32Array
  readonly #columnSlots: readonly (readonly number[])[]
  readonly #mostCopies: number
  readonly #types: readonly Uint8Array[]

  constructor(table: Table) {
    this.table = table
    const compiled = compilePaths(table.columns)
    this.#root = compiled.root
    this.#slots = new Int32Array(compiled.slotCount)
    this.#columnSlots = compiled.columnSlots
    this.#mostCopies = compiled.mostCopies
    this.#types = table.generic ? [] : table.collections.map((nsid) => new TextEncoder().encode(nsid))
  }

  /** Room for the fields of a record of `length` bytes. */
  roomFor(length: number): number {
    return this.#columnSlots.length * bytesPerNullField + length * mostGrowth * this.#mostCopies
  }

  hasType(bytes: Uint8Array, start: number, length: number): boolean {
    for (const type of this.#types) if (type.length === length && equalBytes(type, bytes, start)) return true
    return false
  }

  /** Appends the row's fields. Throws CborError for a block that is no record; what was appended is then worthless. */
  project(reader: CborReader, writer: FieldWriter): void {
    const slots = this.#slots.fill(absent)
    slots[wholeRecordSlot] = 0
    reader.readHead()
    if (reader.major !== cborMajor.map) throw new CborError('a record that is no map', 0)
    this.#find(reader, this.#root, 0)
    if (reader.position !== reader.bytes.length) throw new CborError('bytes after the record', reader.position)
    if (reader.sawUnsortedKeys) {
      reader.position = 0
      refuseRepeatedKeys(reader)
    }
    this.#write(reader, writer)
  }

  #find(reader: CborReader, node: PathNode, depth: number): void {
    const count = reader.checkCount(2)
    const { keys } = node
    const { bytes } = reader
    let candidate = 0
    let previousStart = 0
    let previousLength = -1
    for (let i = 0; i < count; i++) {
      const start = reader.readKey()
      const length = reader.argument
      reader.checkKeyOrder(previousStart, previousLength, start, length)
      previousStart = start
      previousLength = length
      if (reader.sawUnsortedKeys) candidate = 0
      let found: PathKey | undefined
      for (; candidate < keys.length; candidate++) {
        const key = keys[candidate]
        if (key === undefined || key.bytes.length > length) break
        if (key.bytes.length < length) continue
        const order = compareBytes(key.bytes, bytes, start)
        if (order > 0) break
        if (order === 0) {
          found = key
          candidate++
          break
        }
      }
      if (found === undefined) reader.skip(depth + 1)
      else this.#enter(reader, found, depth + 1)
    }
  }

  #enter(reader: CborReader, key: PathKey, depth: number): void {
    const at = reader.position
    if (key.slot >= 0) this.#slots[key.slot] = at
    if (key.inside === undefined) {
      reader.skip(depth)
      return
    }
    const initial = reader.bytes[at] ?? 0
    if (initial >> 5 === cborMajor.map) {
      if (depth >= projectionLimits.maxDepth) throw new CborError('a value nested too deeply', at, true)
      reader.readHead()
      this.#find(reader, key.inside, depth)
    } else {
      if (initial !== cborNull && key.firstSlotInside >= 0) this.#slots[key.firstSlotInside] = -1 - at
      reader.skip(depth)
    }
  }

  #write(reader: CborReader, writer: FieldWriter): void {
    const { columns } = this.table
    for (let i = 0; i < columns.length; i++) {
      const column = columns[i]
      const candidates = this.#columnSlots[i]
      if (column === undefined || candidates === undefined) continue
      let at = absent
      for (let j = 0; j < candidates.length; j++) {
        const place = this.#slots[candidates[j] ?? 0] ?? absent
        if (place === absent || (place >= 0 && reader.bytes[place] === cborNull)) continue
        at = place
        if (place >= 0) break
      }
      if (at >= 0) {
        writer.writeColumn(reader, column, i, at)
      } else {
        writer.writeNull()
        if (at !== absent) {
          reader.position = -1 - at
          reader.skip(0)
          writer.noteOddity(i, 'WrongType', -1 - at, reader.position)
        }
      }
    }
  }
}

/** A slot whose value the record does not have. Other negative numbers: -1 - the offset of something that should be a map. */
const absent = -0x8000_0000

function equalBytes(expected: Uint8Array, bytes: Uint8Array, start: number): boolean {
  for (let i = expected.length - 1; i >= 0; i--) if (expected[i] !== bytes[start + i]) return false
  return true
}

function compareBytes(expected: Uint8Array, bytes: Uint8Array, start: number): number {
  for (let i = 0; i < expected.length; i++) {
    const difference = (expected[i] ?? 0) - (bytes[start + i] ?? 0)
    if (difference !== 0) return difference
  }
  return 0
}
