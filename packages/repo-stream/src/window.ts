// The stretch of input that is being parsed. Where blocks stay as they are it is a slab that chunks are copied into, kept when it is
// full; else the chunk itself, and a slab of the window's own for a section that goes over the end of one. For a CAR given as
// bytes it is those bytes, opened step by step.
import type { Ledger } from './ledger.ts'
import { maxAddress } from './memory-blocks.ts'
import { freeSlab, newSlab, noSlab, type Slab, slabOver } from './slab.ts'

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
  /** The chunk, while it is the window. */
  #inPlace: Slab | undefined
  /** The source's own bytes. */
  #whole = false

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  /** What it has taken from the ledger for itself. */
  get ownBytes(): number {
    return this.#own.bytes.length
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
    this.#inPlace = undefined
  }

  /**
   * Takes the next step of the chunk. The section at `from` has `sectionBytes` in all, as far as that is known. Slabs
   * come from `owner`; without one nothing stays in the window. False: memory was refused and nothing was taken.
   */
  advance(sectionBytes: number, owner: SlabOwner | undefined): boolean {
    if (this.#whole) {
      const step = Math.min(stepBytes, this.slab.bytes.length - this.to) // its addresses are those of the bytes
      if (owner !== undefined && (this.to + step > maxAddress || !this.#ledger.take(step))) return false
      this.to += step
      return true
    }
    const chunk = this.#chunk
    if (chunk === undefined) return true
    let step = Math.min(stepBytes, chunk.length - this.#chunkAt)
    const rest = this.to - this.from
    if (owner === undefined && (rest === 0 || this.slab === this.#inPlace)) {
      this.#stepInPlace(chunk, rest, step)
      return true
    }
    if (owner === undefined) step = Math.min(step, Math.max(1, sectionBytes - rest)) // of the section, and then in place again
    if (!this.#makeRoom(step, sectionBytes, owner)) return false
    this.slab.bytes.set(step === chunk.length ? chunk : chunk.subarray(this.#chunkAt, this.#chunkAt + step), this.to)
    this.#took(chunk, step)
    return true
  }

  /** The chunk is the source's, which may use its memory again when it is asked for the next: takes what is unparsed out of it. */
  leaveChunk(): void {
    if (this.slab !== this.#inPlace) return
    if (this.from === this.to) this.#show(noSlab, 0, 0)
    else this.#makeRoom(0, 0, undefined)
  }

  /** From here on nothing stays in the window: moves what is unparsed out of a slab that belongs to others. */
  detach(): void {
    if (this.#whole || this.slab === this.#own || this.slab === this.#inPlace) return
    const rest = this.slab.bytes.slice(this.from, this.to)
    this.#show(slabOver(rest), 0, rest.length)
  }

  /** All is read. Frees the memory that is the window's own. */
  close(): void {
    this.#chunk = this.#inPlace = undefined
    this.#show(noSlab, 0, 0)
    this.#ledger.give(this.#own.bytes.length)
    this.#setOwn(noSlab)
  }

  #stepInPlace(chunk: Uint8Array, rest: number, step: number): void {
    if (this.#inPlace === undefined) {
      this.#inPlace = slabOver(new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.length)) // never a Buffer
    }
    this.#show(this.#inPlace, this.#chunkAt - rest, this.#chunkAt)
    this.#took(chunk, step)
  }

  #took(chunk: Uint8Array, step: number): void {
    this.to += step
    this.#chunkAt += step
    if (this.#chunkAt === chunk.length) this.#chunk = undefined
  }

  #show(slab: Slab, from: number, to: number): void {
    this.slab = slab
    this.from = from
    this.to = to
  }

  #makeRoom(bytes: number, sectionBytes: number, owner: SlabOwner | undefined): boolean {
    const isOurs = owner !== undefined || this.slab === this.#own
    if (isOurs && this.to + bytes <= this.slab.bytes.length) return true
    const rest = this.to - this.from
    // a large section doubles its room instead of being copied with each chunk, and gets no room that has not half come in
    const wanted = Math.max(rest + bytes, Math.min(sectionBytes, 2 * rest))
    const before = this.slab
    let slab: Slab | undefined = this.#own
    if (owner !== undefined) slab = owner.addSlab(wanted)
    else if (rest + bytes > slab.bytes.length) slab = this.#ownSlab(wanted)
    if (slab === undefined) return false
    slab.bytes.set(before.bytes.subarray(this.from, this.to)) // the rest of a section; overlap is fine
    if (owner === undefined) this.#setOwn(slab)
    else if (this.from === 0) owner.dropSlab(before) // it held nothing but that rest
    this.#show(slab, 0, rest)
    return true
  }

  /** Frees the one before: left to the collector, the windows of all loads made it mark the heap. */
  #setOwn(slab: Slab): void {
    if (slab === this.#own) return
    freeSlab(this.#own)
    this.#own = slab
  }

  #ownSlab(bytes: number): Slab {
    const grown = Math.max(minWindowBytes, bytes, Math.min(2 * stepBytes, this.#own.bytes.length * 2))
    this.#ledger.takeAnyway(grown - this.#own.bytes.length)
    return newSlab(grown)
  }
}
