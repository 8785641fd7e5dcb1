// The stretch of input that is being parsed. For a stream it is a slab that chunks are copied into: kept when it is full,
// where blocks stay as they are, or used again. For a CAR given as bytes it is those bytes, opened step by step.
import type { Ledger } from './ledger.ts'
import { freeNow, noSlab, type Slab, slabOver } from './slab.ts'

/** A big chunk is taken in steps of this size, so that a signal and other work are seen to in between. */
export const stepBytes = 256 * 1024
const minWindowBytes = 16 * 1024

/** Gives slabs that stay when they are full. */
export interface SlabOwner {
  /** Undefined: memory is refused. */
  addSlab(minBytes: number): Slab | undefined
  /** Nothing in this slab is needed. */
  dropSlab(slab: Slab): void
}

export class Window {
  slab: Slab = noSlab
  /** Unparsed bytes are from `from` to `to`. */
  from = 0
  to = 0
  readonly #ledger: Ledger
  #own = noSlab
  #chunk: Uint8Array | undefined
  #chunkAt = 0
  /** The source's own bytes. */
  #whole = false

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  /** Has the last chunk more bytes to give? */
  get hasMore(): boolean {
    return this.#whole ? this.to < this.slab.bytes.length : this.#chunk !== undefined
  }

  useWhole(slab: Slab): void {
    this.slab = slab
    this.#whole = true
  }

  setChunk(chunk: Uint8Array): void {
    if (chunk.length === 0) return
    this.#chunk = chunk
    this.#chunkAt = 0
  }

  /**
   * Takes the next step of the chunk. The section at `from` has `sectionBytes` in all, as far as that is known. Slabs
   * come from `owner`; without one the window's own is used again. False: memory was refused and nothing was taken.
   */
  advance(sectionBytes: number, owner: SlabOwner | undefined): boolean {
    if (this.#whole) {
      const step = Math.min(stepBytes, this.slab.bytes.length - this.to)
      if (owner !== undefined && !this.#ledger.take(step)) return false
      this.to += step
      return true
    }
    const chunk = this.#chunk
    if (chunk === undefined) return true
    const step = Math.min(stepBytes, chunk.length - this.#chunkAt)
    if (!this.#makeRoom(step, sectionBytes, owner)) return false
    this.slab.bytes.set(step === chunk.length ? chunk : chunk.subarray(this.#chunkAt, this.#chunkAt + step), this.to)
    this.to += step
    this.#chunkAt += step
    if (this.#chunkAt === chunk.length) this.#chunk = undefined
    return true
  }

  /** From here on nothing stays in the window: moves what is unparsed out of a slab that belongs to others. */
  detach(): void {
    if (this.#whole || this.slab === this.#own) return
    const rest = this.slab.bytes.slice(this.from, this.to)
    this.slab = slabOver(rest)
    this.from = 0
    this.to = rest.length
  }

  /** All is read. Frees the memory that is the window's own. */
  close(): void {
    this.#chunk = undefined
    this.slab = noSlab
    this.from = this.to = 0
    this.#ledger.give(this.#own.bytes.length)
    this.#setOwn(noSlab)
  }

  #makeRoom(bytes: number, sectionBytes: number, owner: SlabOwner | undefined): boolean {
    if (this.to + bytes <= this.slab.bytes.length) return true
    const rest = this.to - this.from
    // a large section doubles its room instead of being copied with each chunk, and gets no room that has not half come in
    const wanted = Math.max(rest + bytes, Math.min(sectionBytes, 2 * rest))
    const before = this.slab
    let slab: Slab | undefined = before
    if (owner !== undefined) slab = owner.addSlab(wanted)
    else if (rest + bytes > before.bytes.length) slab = this.#ownSlab(wanted)
    if (slab === undefined) return false
    slab.bytes.set(before.bytes.subarray(this.from, this.to)) // the rest of a section; overlap is fine
    if (owner === undefined) this.#setOwn(slab)
    else if (this.from === 0) owner.dropSlab(before) // it held nothing but that rest
    this.slab = slab
    this.from = 0
    this.to = rest
    return true
  }

  /** Frees the one before: left to the collector, the windows of all loads made it mark the heap. */
  #setOwn(slab: Slab): void {
    if (slab === this.#own) return
    freeNow(this.#own.bytes)
    this.#own = slab
  }

  #ownSlab(bytes: number): Slab {
    const grown = Math.max(minWindowBytes, bytes, Math.min(2 * stepBytes, this.slab.bytes.length * 2))
    this.#ledger.takeAnyway(grown - this.#own.bytes.length)
    return slabOver(new Uint8Array(grown))
  }
}
