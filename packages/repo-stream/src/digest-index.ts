// Finds blocks by digest: an open-addressing table of (hash, address) pairs, 11 to 21 bytes a block, seeded per process.
// It holds no digests: whoever uses it compares all 32 bytes where the block lies, and goes on probing when they differ.
import { randomBytes } from 'node:crypto'
import { digestBytes } from './cid.ts'
import { freeNow } from './slab.ts'

/** Two words a slot: the hash, and the address plus one; zero is an empty slot. */
const slotBytes = 8
const minSlots = 64

export class DigestIndex {
  /** Pairs of hash and address + 1. */
  slots = new Uint32Array(2 * minSlots)
  /** Turns a hash into a slot number: the hash's upper bits. */
  shift = 32 - Math.log2(minSlots)
  count = 0

  static readonly firstBytes = minSlots * slotBytes

  get bytes(): number {
    return this.slots.length * 4
  }

  /** What the next `insert` needs in memory beyond what is held; 0 nearly always. Both tables are there while it grows. */
  growthBytes(): number {
    return this.#isFull() ? 2 * this.bytes : 0
  }

  /** Adds without looking for an equal one. */
  insert(hash: number, address: number): void {
    if (this.#isFull()) this.#grow()
    this.count++
    put(this.slots, this.shift, hash, address + 1)
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

  /** Three quarters full at most: then a miss looks at 8 slots on average, a hit at 2.5. */
  #isFull(): boolean {
    return this.count * 8 >= this.slots.length * 3
  }

  #grow(): void {
    const old = this.slots
    const slots = new Uint32Array(old.length * 2)
    const shift = this.shift - 1
    for (let i = 0; i < old.length; i += 2) {
      const address = old[i + 1] ?? 0
      if (address !== 0) put(slots, shift, old[i] ?? 0, address)
    }
    this.slots = slots
    this.shift = shift
    freeNow(old)
  }
}

function put(slots: Uint32Array, shift: number, hash: number, stored: number): void {
  const mask = slots.length - 1
  let i = (hash >>> shift) * 2
  while (slots[i + 1] !== 0) i = (i + 2) & mask
  slots[i] = hash
  slots[i + 1] = stored
}

const seeds = Uint32Array.from(
  new Uint32Array(randomBytes(digestBytes).buffer.slice(0)).subarray(0, 8),
  (word) => word | 1,
)
const [seed0 = 1, seed1 = 1, seed2 = 1, seed3 = 1, seed4 = 1, seed5 = 1, seed6 = 1, seed7 = 1] = seeds

/**
 * Hash of the digest at `at`. It takes all eight words with secret factors, because without hash checks a sender may name
 * any digests, and would name such that share a slot.
 */
export function digestHash(view: DataView, at: number): number {
  let hash = Math.imul(view.getUint32(at), seed0)
  hash = Math.imul((hash ^ (hash >>> 15)) + view.getUint32(at + 4), seed1)
  hash = Math.imul((hash ^ (hash >>> 15)) + view.getUint32(at + 8), seed2)
  hash = Math.imul((hash ^ (hash >>> 15)) + view.getUint32(at + 12), seed3)
  hash = Math.imul((hash ^ (hash >>> 15)) + view.getUint32(at + 16), seed4)
  hash = Math.imul((hash ^ (hash >>> 15)) + view.getUint32(at + 20), seed5)
  hash = Math.imul((hash ^ (hash >>> 15)) + view.getUint32(at + 24), seed6)
  hash = Math.imul((hash ^ (hash >>> 15)) + view.getUint32(at + 28), seed7)
  return (hash ^ (hash >>> 15)) >>> 0
}

/** Are the 32 bytes at both places equal? */
export function sameDigest(a: DataView, at: number, b: DataView, bAt: number): boolean {
  return (
    a.getUint32(at) === b.getUint32(bAt) &&
    a.getUint32(at + 4) === b.getUint32(bAt + 4) &&
    a.getUint32(at + 8) === b.getUint32(bAt + 8) &&
    a.getUint32(at + 12) === b.getUint32(bAt + 12) &&
    a.getUint32(at + 16) === b.getUint32(bAt + 16) &&
    a.getUint32(at + 20) === b.getUint32(bAt + 20) &&
    a.getUint32(at + 24) === b.getUint32(bAt + 24) &&
    a.getUint32(at + 28) === b.getUint32(bAt + 28)
  )
}
