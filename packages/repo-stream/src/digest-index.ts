// Finds blocks by digest: an open-addressing table of (hash, address) pairs, 11 to 21 bytes a block, seeded per process.
// (Up to 43 while blocks are few, and where a CAR's first are smaller than its rest, as a table may be made for so many as they let expect.)
// It holds no digests: whoever uses it compares all 32 bytes where the block lies, and goes on probing when they differ.
import { randomBytes } from 'node:crypto'
import { freeNow } from './slab.ts'
import { Spares } from './spares.ts'

/** Two words a slot: the hash, and the address plus one; zero is an empty slot. */
const slotBytes = 8
const minSlots = 64
/** More would let what a CAR's first blocks promise take over 48 bytes a block. */
const maxDoublings = 2
/** A table of up to so many slots grows fourfold: it is copied less often, and 42 bytes a block are few while blocks are. */
const maxSmallSlots = 1024
/** Empty tables up to that size: the memory of a new one costs a tiny repo 2 %. */
const spares = new Spares<Uint32Array>(512 * 1024)

export class DigestIndex {
  /** Pairs of hash and address + 1. */
  slots = newSlots(2 * minSlots)
  /** Turns a hash into a slot number: the hash's upper bits. */
  shift = 32 - Math.log2(minSlots)
  count = 0

  static readonly firstBytes = minSlots * slotBytes

  get bytes(): number {
    return this.slots.length * 4
  }

  /** Three quarters at most: then a miss looks at 8 slots on average, a hit at 2.5. */
  get isFull(): boolean {
    return this.count * 8 >= this.slots.length * 3
  }

  /** How often must it double to hold so many? Once at least, and not all at once: they are a guess from what it holds. */
  doublingsFor(count: number): number {
    const least = this.slots.length < 2 * maxSmallSlots ? maxDoublings : 1
    return Math.min(maxDoublings, Math.max(least, Math.ceil(Math.log2((count * 8) / (this.slots.length * 3)))))
  }

  /** Adds without looking for an equal one, to an index that is not full. */
  insert(hash: number, address: number): void {
    this.count++
    put(this.slots, this.shift, hash, address + 1)
  }

  /** The same in an empty slot that a search has ended at. */
  fill(slot: number, hash: number, address: number): void {
    this.count++
    this.slots[slot] = hash
    this.slots[slot + 1] = address + 1
  }

  /** Doubles the table, `doublings` times. The old one is there until the new one is filled. */
  grow(doublings = 1): void {
    const old = this.slots
    const slots = newSlots(old.length << doublings)
    const shift = this.shift - doublings
    for (let i = 0; i < old.length; i += 2) {
      const address = old[i + 1] ?? 0
      if (address !== 0) put(slots, shift, old[i] ?? 0, address)
    }
    this.slots = slots
    this.shift = shift
    freeSlots(old)
  }

  /** Frees its memory. It must not be used any more. */
  free(): void {
    freeSlots(this.slots)
  }

  clear(): void {
    this.slots.fill(0)
    this.count = 0
  }

  /** Every address, in no order. */
  addresses(): Uint32Array {
    const found = new Uint32Array(this.count)
    let n = 0
    for (let i = 1; i < this.slots.length; i += 2) {
      const address = this.slots[i] ?? 0
      if (address !== 0) found[n++] = address - 1
    }
    return found
  }
}

function newSlots(words: number): Uint32Array {
  return spares.take(words * 4) ?? new Uint32Array(words)
}

function freeSlots(slots: Uint32Array): void {
  const isSmall = slots.length <= 2 * maxSmallSlots
  if (!isSmall || !spares.keep(slots.byteLength, slots.fill(0))) freeNow(slots)
}

function put(slots: Uint32Array, shift: number, hash: number, stored: number): void {
  const mask = slots.length - 1
  let i = (hash >>> shift) * 2
  while (slots[i + 1] !== 0) i = (i + 2) & mask
  slots[i] = hash
  slots[i + 1] = stored
}

/** Odd, so that multiplying loses nothing. */
const seed = (): number => randomBytes(4).readInt32LE() | 1
const [seed0, seed1, seed2, seed3, seed4] = [seed(), seed(), seed(), seed(), seed()] as const
const [seed5, seed6, seed7, seed8] = [seed(), seed(), seed(), seed()] as const

/**
 * Hash of the digest at `at`. It takes all eight words with secret factors, because without hash checks a sender may name
 * any digests, and would name such that share a slot.
 */
export function digestHash(view: DataView, at: number): number {
  return mix(view, at) >>> 0 // here: more than 31 bits that a call gives back are an object
}

function mix(view: DataView, at: number): number {
  // two halves side by side, as a processor multiplies both at once
  let hash = Math.imul(view.getInt32(at, true), seed0)
  let other = Math.imul(view.getInt32(at + 16, true), seed4)
  hash = Math.imul((hash ^ (hash >>> 15)) + view.getInt32(at + 4, true), seed1)
  other = Math.imul((other ^ (other >>> 15)) + view.getInt32(at + 20, true), seed5)
  hash = Math.imul((hash ^ (hash >>> 15)) + view.getInt32(at + 8, true), seed2)
  other = Math.imul((other ^ (other >>> 15)) + view.getInt32(at + 24, true), seed6)
  hash = Math.imul((hash ^ (hash >>> 15)) + view.getInt32(at + 12, true), seed3)
  other = Math.imul((other ^ (other >>> 15)) + view.getInt32(at + 28, true), seed7)
  hash = Math.imul((hash ^ (hash >>> 15)) + (other ^ (other >>> 15)), seed8)
  hash = Math.imul(hash ^ (hash >>> 13), lastFactor)
  return hash ^ (hash >>> 16)
}

/** Of MurmurHash3. Without it one process in 90 had seeds with which digests that differ in one word took 45 steps in place of 1.3. */
const lastFactor = 0x85ebca6b

/** Are the 32 bytes at both places equal? */
export function sameDigest(a: DataView, at: number, b: DataView, bAt: number): boolean {
  return (
    a.getInt32(at, true) === b.getInt32(bAt, true) &&
    a.getInt32(at + 4, true) === b.getInt32(bAt + 4, true) &&
    a.getInt32(at + 8, true) === b.getInt32(bAt + 8, true) &&
    a.getInt32(at + 12, true) === b.getInt32(bAt + 12, true) &&
    a.getInt32(at + 16, true) === b.getInt32(bAt + 16, true) &&
    a.getInt32(at + 20, true) === b.getInt32(bAt + 20, true) &&
    a.getInt32(at + 24, true) === b.getInt32(bAt + 24, true) &&
    a.getInt32(at + 28, true) === b.getInt32(bAt + 28, true)
  )
}
