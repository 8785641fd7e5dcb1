// Keeps blocks in memory: slabs of CAR sections that only grow, and an index over them. Memory is asked for slab by slab.
// A slab's address is a multiple of the unit, so that an address finds its slab by a shift.
import type { BlockStore, Links } from './blocks.ts'
import { DigestIndex, digestHash, sameDigest } from './digest-index.ts'
import type { Ledger } from './ledger.ts'
import { Section, type SectionParts, sectionBytes, writeSection } from './section.ts'
import { freeSlab, newSlab, noSlab, type Slab, slabOver } from './slab.ts'

const unitBits = 14
const unitBytes = 1 << unitBits
/** Slabs grow with what is held, from one unit (most repos are tiny) up to this. */
const maxSlabBytes = 1 << 20
/** Addresses have 32 bits. */
export const maxAddress = 0xffff_fffe

const noLinks: Links = { slab: noSlab, links: new Int32Array(0), linkCount: 0, located: new Uint32Array(0) }
/** Sections that go into the index together, so that cache misses overlap. Fewer than the free slots of a full index. */
const maxWaiting = 8
const waitingHashes = new Uint32Array(maxWaiting)
const waitingAddresses = new Uint32Array(maxWaiting)
/** A section's length, CID and first bytes of digest. */
const headBytes = 32
/** What is read ahead of a linked node: most are no longer. */
const nodeBytes = 512

/** Of every store that is closed. */
const noIndex = new DigestIndex()

export class MemoryBlocks implements BlockStore {
  readonly isStable = true
  readonly holdsBlocks = true
  readonly #ledger: Ledger
  #index = new DigestIndex()
  /** The slab of each unit of the address space. */
  readonly #units: Slab[] = []
  #borrowed: Uint8Array | undefined
  #tail = noSlab
  #tailAt = 0
  readonly found = new Section()
  #waiting = 0
  /** So that the compiler keeps the reads whose values are not needed. */
  #seen = 0

  constructor(ledger: Ledger) {
    this.#ledger = ledger
    ledger.takeAnyway(DigestIndex.firstBytes)
  }

  find(view: DataView, at: number): boolean {
    if (this.#waiting > 0) this.settle()
    return this.#slotOf(digestHash(view, at), view, at) < 0
  }

  /** -1, and the block in `found`, if it is there; else the empty slot where it would be. */
  #slotOf(hash: number, view: DataView, at: number): number {
    const { slots, shift } = this.#index
    const mask = slots.length - 1
    for (let i = (hash >>> shift) << 1; ; i = (i + 2) & mask) {
      const stored = slots[i + 1] ?? 0
      if (stored === 0) return i
      if (slots[i] !== hash) continue
      this.#open(stored - 1)
      if (sameDigest(this.found.slab.view, this.found.from - 32, view, at)) return -1
    }
  }

  /** In three passes, so that cache misses overlap: one `find` after another would wait for each of them. */
  locate(nodes: readonly Links[], count: number): void {
    if (this.#waiting > 0) this.settle()
    let seen = 0
    for (let i = 0; i < count; i++) seen ^= this.#readSlots(nodes[i] ?? noLinks)
    for (let i = 0; i < count; i++) seen ^= this.#readBlocks(nodes[i] ?? noLinks)
    for (let i = 0; i < count; i++) seen ^= this.#compare(nodes[i] ?? noLinks)
    this.#seen = seen
  }

  open(located: number): void {
    this.#open(located - 1)
  }

  /** Indexes a section of a slab that `addSlab` gave, where it lies: soon, together with its neighbours. */
  index(slab: Slab, start: number, data: number): boolean {
    if (this.#index.isFull && !this.#growIndex(start)) return false
    const hash = digestHash(slab.view, data - 32)
    const { slots, shift } = this.#index
    this.#seen ^= slots[(hash >>> shift) << 1] ?? 0
    waitingHashes[this.#waiting] = hash
    waitingAddresses[this.#waiting] = slab.base + start
    if (++this.#waiting === maxWaiting) this.settle()
    return true
  }

  /** Puts what `index` was given last into the index; due before any other load goes on. */
  settle(): void {
    const count = this.#waiting
    this.#waiting = 0
    const { slots, shift } = this.#index
    const mask = slots.length - 1
    for (let i = 0; i < count; i++) {
      const hash = waitingHashes[i] ?? 0
      const address = waitingAddresses[i] ?? 0
      let slot = (hash >>> shift) << 1
      while (
        slots[slot + 1] !== 0 &&
        (slots[slot] !== hash || !this.#isRepeated((slots[slot + 1] ?? 0) - 1, address))
      ) {
        slot = (slot + 2) & mask
      }
      if (slots[slot + 1] !== 0) continue
      slots[slot] = hash
      slots[slot + 1] = address + 1
      this.#index.count++
    }
  }

  keep(parts: SectionParts): boolean {
    const { source, digestAt, value } = parts
    if (this.#waiting > 0) this.settle()
    if (this.#index.isFull && !this.#growIndex()) return false
    const hash = digestHash(source.view, digestAt)
    const slot = this.#slotOf(hash, source.view, digestAt)
    if (slot < 0) return true
    const bytes = sectionBytes(value.length)
    if (!this.#reserve(bytes)) return false
    writeSection(this.#tail, this.#tailAt, parts)
    this.#index.fill(slot, hash, this.#tail.base + this.#tailAt)
    this.#tailAt += bytes
    return true
  }

  keepSection(source: Slab, start: number, data: number, end: number): boolean {
    if (this.find(source.view, data - 32)) return true
    if (!this.#reserve(end - start) || (this.#index.isFull && !this.#growIndex())) return false
    this.#tail.bytes.set(source.bytes.subarray(start, end), this.#tailAt)
    this.#index.insert(digestHash(source.view, data - 32), this.#tail.base + this.#tailAt)
    this.#tailAt += end - start
    return true
  }

  /** A new slab of at least `minBytes`, filled by the caller; undefined when memory is refused. */
  addSlab(minBytes: number): Slab | undefined {
    const share = Math.min(maxSlabBytes, this.#ledger.heldBytes, this.#ledger.roomBytes)
    const wanted = Math.max(minBytes, 2 ** (31 - Math.clz32(share))) // a size that others may use after us
    const bytes = Math.ceil(wanted / unitBytes) * unitBytes
    if (bytes > maxAddress - this.#units.length * unitBytes) return undefined
    if (this.#ledger.take(bytes)) return this.#addNew(bytes)
    if (bytes === minBytes || !this.#ledger.take(minBytes)) return undefined
    return this.#addNew(minBytes)
  }

  dropSlab(slab: Slab): void {
    if (slab === noSlab) return
    const first = slab.base / unitBytes
    const end = first + Math.ceil(slab.bytes.length / unitBytes)
    this.#units.fill(noSlab, first, end)
    this.#ledger.give(slab.bytes.length)
    freeSlab(slab)
  }

  /** Takes bytes as a slab that is ours from now on. Asking for their memory is the caller's part. */
  adopt(bytes: Uint8Array): Slab {
    return this.#add(slabOver(bytes, this.#units.length * unitBytes))
  }

  /** The same for bytes that stay somebody else's. */
  borrow(bytes: Uint8Array): Slab {
    this.#borrowed = bytes
    return this.adopt(bytes)
  }

  /** Opens every kept section, in the order of arrival. */
  *sections(): Generator<Section> {
    this.settle()
    for (const address of this.#index.addresses().sort()) {
      this.#open(address)
      yield this.found
    }
  }

  /** Frees the memory now, for a store of which nothing was given out. */
  free(): void {
    for (const slab of new Set(this.#units)) if (slab.bytes !== this.#borrowed) freeSlab(slab)
    this.close()
  }

  close(): void {
    this.#units.length = 0
    this.#tail = noSlab
    if (this.#index !== noIndex) this.#index.free() // nothing that was given out points into it
    this.#index = noIndex
  }

  /** Reads the slot of each link, and leaves its hash in `located`. */
  #readSlots({ slab, links, linkCount, located }: Links): number {
    const { slots, shift } = this.#index
    const { view } = slab
    let seen = 0
    for (let i = 0; i < linkCount; i++) {
      const at = links[i] ?? -1
      if (at < 0) continue
      const hash = digestHash(view, at)
      located[i] = hash
      seen ^= slots[(hash >>> shift) << 1] ?? 0
    }
    return seen
  }

  /** Reads the block of each link, as its hash says. */
  #readBlocks({ links, linkCount, located }: Links): number {
    const { slots, shift } = this.#index
    const mask = slots.length - 1
    let seen = 0
    for (let i = 0; i < linkCount; i++) {
      if ((links[i] ?? -1) < 0) continue
      const hash = located[i] ?? 0
      let slot = (hash >>> shift) << 1
      while (slots[slot] !== hash && slots[slot + 1] !== 0) slot = (slot + 2) & mask
      const stored = slots[slot + 1] ?? 0
      located[i] = stored
      if (stored === 0) continue
      const slab = this.#units[(stored - 1) >>> unitBits] ?? noSlab
      const start = (stored - 1 - slab.base) >>> 0
      seen ^= (slab.bytes[start] ?? 0) ^ (slab.bytes[start + headBytes] ?? 0)
    }
    return seen
  }

  /** Keeps what is the block indeed; reads on in what will be the next nodes. */
  #compare({ slab: { view }, links, linkCount, located }: Links): number {
    let seen = 0
    for (let i = 0; i < linkCount; i++) {
      const stored = located[i] ?? 0
      if (stored === 0) continue
      this.#open(stored - 1)
      const { slab, from, to } = this.found
      if (!sameDigest(slab.view, from - 32, view, links[i] ?? 0)) located[i] = 0
      else if (i % 2 === 0) {
        for (let at = from + 32; at < Math.min(to, from + nodeBytes); at += 64) seen ^= slab.bytes[at] ?? 0
      }
    }
    return seen
  }

  #open(address: number): void {
    const slab = this.#units[address >>> unitBits] ?? noSlab
    this.found.open(slab, (address - slab.base) >>> 0)
  }

  #addNew(bytes: number): Slab {
    return this.#add(newSlab(bytes, this.#units.length * unitBytes))
  }

  #add(slab: Slab): Slab {
    for (let unit = 0; unit * unitBytes < slab.bytes.length; unit++) this.#units.push(slab)
    return slab
  }

  #reserve(bytes: number): boolean {
    if (this.#tailAt + bytes <= this.#tail.bytes.length) return true
    const slab = this.addSlab(bytes)
    if (slab === undefined) return false
    this.#tail = slab
    this.#tailAt = 0
    return true
  }

  /** Of a CAR given as bytes, `indexedBytes` are indexed: the rest will have as many blocks in as many bytes. */
  #growIndex(indexedBytes?: number): boolean {
    this.settle()
    const carBytes = indexedBytes === undefined ? 0 : (this.#borrowed?.length ?? 0)
    const expected = (this.#index.count * carBytes) / Math.max(indexedBytes ?? 0, 1)
    return this.#growBy(this.#index.doublingsFor(expected)) || this.#growBy(1)
  }

  /** Both tables are there while it grows. */
  #growBy(doublings: number): boolean {
    const { bytes } = this.#index
    if (!this.#ledger.take(bytes * 2 ** doublings)) return false
    this.#index.grow(doublings)
    this.#ledger.give(bytes)
    return true
  }

  /** Do two sections hold the same block? */
  #isRepeated(address: number, other: number): boolean {
    this.#open(address)
    const { slab, from } = this.found
    const { view } = slab
    this.#open(other)
    return sameDigest(view, from - 32, this.found.slab.view, this.found.from - 32)
  }
}
