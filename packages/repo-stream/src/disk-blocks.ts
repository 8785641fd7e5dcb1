// Keeps blocks on disk: rows of sections in the order of arrival, and an index in memory (13 to 27 bytes a block), of which
// a streaming walk keeps the newest part only, as long as it does with that. In the order of a PDS, neighbours in the tree
// are mostly neighbours in the file, so a row that is read serves many lookups. Where they are not (blocks sorted by
// digest), `gather` brings neighbours together once.
import type { BlockStore } from './blocks.ts'
import { DigestIndex, digestHash, sameDigest } from './digest-index.ts'
import { rowBytes, type SqliteStore } from './disk-store.ts'
import type { Ledger } from './ledger.ts'
import type { MemoryBlocks } from './memory-blocks.ts'
import { type Groups, regroup } from './regroup.ts'
import { RowFile } from './row-file.ts'
import { Section, type SectionParts } from './section.ts'
import type { DigestAt, Slab } from './slab.ts'
import { StoredIndex } from './stored-index.ts'

/** Lookups after which the share of them that had to read a row is looked at. */
const sampleFinds = 4096
/** More row reads than one in so many lookups cost more than regrouping: 30 us each, against 2.5 us once for a block. */
const findsPerRead = 8
/** More lookups than one in so many find their block by a stored index (35 us each) only where the order is broken. */
const findsPerStored = 2
/** Each costs a row; going to a wrong group costs the rows of two. */
const lookupsToEnter = 8
/** A group that takes more is not read: its blocks are found one by one. */
const maxGroupBytes = 4 * 1024 * 1024
/** So much must have been read for nothing: the order of a PDS has spells of it, in collections whose keys do not follow time. */
const readsPerRow = 3

export class DiskBlocks implements BlockStore {
  readonly holdsBlocks = false
  found = new Section()
  readonly #store: SqliteStore
  readonly #ledger: Ledger
  readonly #index = new DigestIndex()
  #maxIndexBytes: number
  /** Parts of the index that have gone to disk, the newest first. */
  readonly #storedIndexes: StoredIndex[] = []
  readonly #rows: RowFile
  /** Lookups since the last look at them; how many a stored index served; rows read before them; rows read in scattered ones. */
  #finds = 0
  #storedFinds = 0
  #readsBefore = 0
  #scatteredReads = 0
  #groups: Groups | undefined
  /** The blocks of group `#group`, and what they take of the ledger. */
  #near: MemoryBlocks | undefined
  #group = 0
  #nearBytes = 0
  /** The group of the last lookups that found nothing in `#near`, and how many they were. */
  #nextGroup = 0
  #nextWanted = 0

  /** An index of more than `maxIndexBytes` goes to disk. */
  constructor(store: SqliteStore, ledger: Ledger, { maxIndexBytes }: { maxIndexBytes: number }) {
    this.#maxIndexBytes = maxIndexBytes
    this.#store = store
    this.#ledger = ledger
    this.#rows = new RowFile(store)
    ledger.takeAnyway(DigestIndex.firstBytes)
  }

  /** A block of several rows has memory of its own. */
  get isStable(): boolean {
    return this.found.slab.bytes.length > rowBytes
  }

  find(view: DataView, at: number): boolean {
    this.#finds++
    if (this.#findNear(view, at)) return true
    const hash = digestHash(view, at)
    const slot = this.#slotOf(hash, view, at)
    if (slot < 0) return this.#storedIndexes.length > 0 && this.#findStored(hash, view, at)
    this.#enterGroup(slot)
    return true
  }

  keep(parts: SectionParts): boolean {
    const { source, digestAt } = parts
    const hash = digestHash(source.view, digestAt)
    if (this.#slotOf(hash, source.view, digestAt) < 0) this.#insert(hash, this.#rows.appendParts(parts))
    return true
  }

  keepSection(source: Slab, start: number, data: number, end: number): boolean {
    const hash = digestHash(source.view, data - 32)
    if (this.#slotOf(hash, source.view, data - 32) < 0) this.#insert(hash, this.#rows.append(source, start, end))
    return true
  }

  /** A loop by itself stays compiled for the next store: within `moveToDisk` it was compiled for each (25 to 60 ms). */
  keepAll(memory: MemoryBlocks): void {
    for (const { slab, start, from, to } of memory.sections()) this.keepSection(slab, start, from, to)
  }

  /** Due once the memory of what was moved is free, which the cache may need. */
  takeCache(): void {
    this.#rows.cacheBytes = this.#ledger.share(this.#store.cacheBytes)
  }

  /**
   * Do lookups mostly have to read from the disk, so that `gather` pays? Looks every few thousand lookups. `isWhole`: no
   * more blocks come.
   */
  isScattered({ isWhole }: { isWhole: boolean }): boolean {
    if (this.#finds < sampleFinds || this.#groups !== undefined) return false
    const reads = this.#rows.readCount - this.#readsBefore
    const needsIndex = this.#storedFinds * findsPerStored > this.#finds
    this.#scatteredReads = reads * findsPerRead > this.#finds ? this.#scatteredReads + reads : 0
    this.#finds = 0
    this.#storedFinds = 0
    this.#readsBefore = this.#rows.readCount
    if (this.#storedIndexes.length > 0) return needsIndex
    const isScattered = isWhole && this.#scatteredReads > readsPerRow * this.#rows.rowCount
    return isScattered && this.#store.hasRoomFor(2 * this.#store.storedBytes) // in rows that may leave half of each page empty
  }

  /**
   * Brings the stored part of the index back into memory, for good: the order of a streaming walk is broken. Where all of
   * it is there, writes all blocks once more, neighbours of the tree at `root` together. Calls `turn` between slices of
   * some ms.
   */
  async gather(root: DigestAt, turn: () => Promise<void>): Promise<void> {
    this.#scatteredReads = 0
    if (this.#storedIndexes.length > 0) {
      this.#maxIndexBytes = Number.POSITIVE_INFINITY
      for (const stored of this.#storedIndexes.splice(0)) {
        stored.each((hash, address) => this.#insert(hash, address))
        await turn()
      }
      return
    }
    this.#rows.flush()
    this.#groups = await regroup({ index: this.#index, rows: this.#rows, store: this.#store }, root, turn)
    this.#ledger.takeAnyway(this.#groups.indexBytes)
    this.#rows.clearCache()
  }

  close(): void {
    this.#rows.clearCache()
    this.#leaveGroup()
  }

  /**
   * The slot of a block, opened; -1: the index in memory has it not. Asked before a block is kept, too: one that is sent a
   * million times would make a million slots of one hash, each of them behind all others.
   */
  #slotOf(hash: number, view: DataView, at: number): number {
    const { slots, shift } = this.#index
    const mask = slots.length - 1
    for (let i = (hash >>> shift) * 2; ; i = (i + 2) & mask) {
      const stored = slots[i + 1] ?? 0
      if (stored === 0) return -1
      if (slots[i] === hash && this.#isAt(stored - 1, view, at)) return i / 2
    }
  }

  #isAt(address: number, view: DataView, at: number): boolean {
    this.#rows.open(address)
    this.found = this.#rows.section
    return sameDigest(this.found.slab.view, this.found.from - 32, view, at)
  }

  #findStored(hash: number, view: DataView, at: number): boolean {
    const isAt = (address: number): boolean => this.#isAt(address, view, at)
    if (!this.#storedIndexes.some((index) => index.find(hash, isAt))) return false
    this.#storedFinds++
    return true
  }

  #findNear(view: DataView, at: number): boolean {
    if (!this.#near?.find(view, at)) return false
    this.found = this.#near.found
    this.#nextWanted = 0
    return true
  }

  #insert(hash: number, address: number): void {
    if (this.#index.isFull) this.#makeRoom()
    this.#index.insert(hash, address)
  }

  #makeRoom(): void {
    const { bytes } = this.#index
    if (2 * bytes > this.#maxIndexBytes) {
      const rows = this.#storedIndexes.reduce((sum, index) => sum + index.rows, 0)
      this.#storedIndexes.unshift(new StoredIndex(this.#store, this.#index, rows))
      this.#index.clear()
      return
    }
    this.#ledger.takeAnyway(2 * bytes)
    this.#index.grow()
    this.#ledger.give(bytes)
  }

  /**
   * Brings the group of a slot's block into memory, once several lookups in a row want it: a record under several keys, or one
   * of the few blocks that share a hash, stands in a group that the walk is not in. The group before gives its memory first.
   */
  #enterGroup(slot: number): void {
    const groups = this.#groups
    const group = groups?.ofSlot[slot] ?? 0
    if (groups === undefined || group === 0 || group === this.#group) return
    if (group !== this.#nextGroup) this.#nextWanted = 0
    this.#nextGroup = group
    if (++this.#nextWanted < lookupsToEnter) return
    this.#leaveGroup()
    if (!this.#takeMemory(groups.memoryBytes(group))) return
    this.#near = groups.read(group)
    this.#group = group
  }

  #leaveGroup(): void {
    this.#near?.free()
    this.#near = undefined
    this.#group = 0
    this.#ledger.give(this.#nearBytes)
    this.#nearBytes = 0
  }

  /** Like the cache it is in the budget, but not under the limit of a load that has passed it already. */
  #takeMemory(bytes: number): boolean {
    if (bytes > maxGroupBytes) return false
    this.#nearBytes = this.#ledger.share(bytes)
    if (this.#nearBytes < bytes) this.#leaveGroup()
    return this.#nearBytes === bytes
  }
}
