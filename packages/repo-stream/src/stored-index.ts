// A digest index that has gone to disk: its table as it was in memory, in rows of 32 KiB. A streaming walk looks here only
// for a record that an early key has named already, and for blocks that are still to come.
import type { DigestIndex } from './digest-index.ts'
import type { SqliteStore } from './disk-store.ts'
import { freeNow } from './slab.ts'

const rowSlots = 4096
const wordsPerSlot = 2

export class StoredIndex {
  readonly #store: SqliteStore
  readonly #slots: number
  readonly #shift: number
  /** Rows of blocks count upwards from 0, those of tables downwards from -1. */
  readonly #firstRow: number
  #row: Uint32Array = new Uint32Array(0)
  #rowNumber = -1

  /** Writes `index` to `store`, in which `rows` rows of tables are already. */
  constructor(store: SqliteStore, index: DigestIndex, rows: number) {
    this.#store = store
    this.#slots = index.slots.length / wordsPerSlot
    this.#shift = index.shift
    this.#firstRow = -1 - rows
    const bytes = new Uint8Array(index.slots.buffer)
    for (let row = 0; row < this.rows; row++) {
      store.write(this.#firstRow - row, bytes.subarray(row * rowSlots * 8, (row + 1) * rowSlots * 8))
    }
  }

  get rows(): number {
    return Math.ceil(this.#slots / rowSlots)
  }

  /** Tries each address that has this hash, until one is right. */
  find(hash: number, isRight: (address: number) => boolean): boolean {
    for (let slot = hash >>> this.#shift; ; slot = (slot + 1) % this.#slots) {
      const at = (slot % rowSlots) * wordsPerSlot
      const row = this.#read(Math.floor(slot / rowSlots))
      const stored = row[at + 1] ?? 0
      if (stored === 0) return false
      if (row[at] === hash && isRight(stored - 1)) return true
    }
  }

  /** Gives every hash with its address. */
  each(take: (hash: number, address: number) => void): void {
    for (let row = 0; row < this.rows; row++) {
      const slots = this.#read(row)
      for (let at = 0; at < slots.length; at += wordsPerSlot) {
        const stored = slots[at + 1] ?? 0
        if (stored !== 0) take(slots[at] ?? 0, stored - 1)
      }
    }
  }

  #read(row: number): Uint32Array {
    if (row !== this.#rowNumber) {
      freeNow(this.#row)
      const { buffer, byteOffset, byteLength } = this.#store.read(this.#firstRow - row)
      this.#row = new Uint32Array(buffer, byteOffset, byteLength / 4) // a row that is read has memory of its own
      this.#rowNumber = row
    }
    return this.#row
  }
}
