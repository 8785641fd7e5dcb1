// Copies of many small pieces, one behind the other in slabs that the collector frees when no piece is held any more.
import { noSlab, type Slab, slabOver } from './slab.ts'

const firstSlabBytes = 4 * 1024
const maxSlabBytes = 64 * 1024

export class Arena {
  /** Where the last copy lies. */
  slab: Slab = noSlab
  #at = 0

  /** Copies `source[from, to)` and gives where the copy starts in `slab`. */
  copy(source: Uint8Array, from: number, to: number): number {
    const length = to - from
    const held = this.slab.bytes.length
    if (this.#at + length > held) {
      this.slab = slabOver(new Uint8Array(Math.max(length, firstSlabBytes, Math.min(held * 2, maxSlabBytes))))
      this.#at = 0
    }
    const at = this.#at
    this.slab.bytes.set(source.subarray(from, to), at)
    this.#at = at + length
    return at
  }
}
