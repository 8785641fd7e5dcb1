// Keeps blocks on disk: rows of CAR sections in the order of arrival, and an index in memory (11 to 21 bytes a block).
// In the order of a PDS neighbours in the tree are mostly neighbours in the file, so that a read row serves many lookups.
import { type BlockState, type BlockStore, rawBlock, sectionBytes, writeSection } from './blocks.ts'
import { cidBytes } from './cid.ts'
import { DigestIndex, digestHash, sameDigest } from './digest-index.ts'
import { rowBytes, type SqliteStore } from './disk-store.ts'
import { RepoStreamError } from './errors.ts'
import type { Ledger } from './ledger.ts'
import { freeNow, noSlab, type Slab, slabOver } from './slab.ts'

/** An address counts grains of 8 bytes, 8192 to a row: 32 bits reach 32 GiB. A section starts on a grain. */
const grainBytes = 8
const rowGrains = 8192
const maxRow = 2 ** 32 / rowGrains - 1

export class DiskBlocks implements BlockStore {
  readonly isStable = false
  readonly #store: SqliteStore
  readonly #ledger: Ledger
  readonly #index = new DigestIndex()
  /** Rows read or written last, the oldest first. */
  readonly #cache = new Map<number, Slab>()
  readonly #cacheBytes: number
  #cachedBytes = 0
  #tail = slabOver(new Uint8Array(rowBytes))
  #tailRow = 0
  #tailAt = 0
  slab = noSlab
  from = 0
  to = 0
  state: number = rawBlock

  constructor(store: SqliteStore, ledger: Ledger) {
    this.#store = store
    this.#ledger = ledger
    this.#cacheBytes = ledger.share(store.cacheBytes)
    ledger.takeAnyway(DigestIndex.firstBytes)
  }

  find(view: DataView, at: number): boolean {
    const hash = digestHash(view, at)
    const { slots, shift } = this.#index
    const mask = slots.length - 1
    for (let i = (hash >>> shift) * 2; ; i = (i + 2) & mask) {
      const stored = slots[i + 1] ?? 0
      if (stored === 0) return false
      if (slots[i] !== hash) continue
      this.#open(stored - 1)
      if (sameDigest(this.slab.view, this.from - 32, view, at)) return true
    }
  }

  keep(source: Slab, digestAt: number, state: BlockState, value: Uint8Array): boolean {
    const bytes = sectionBytes(value.length)
    const target = this.#reserve(bytes)
    writeSection(target, target === this.#tail ? this.#tailAt : 0, { digest: source, digestAt, state, value })
    this.#stored(target, bytes, digestHash(source.view, digestAt))
    return true
  }

  keepSection(source: Slab, start: number, data: number, end: number): boolean {
    const target = this.#reserve(end - start)
    target.bytes.set(source.bytes.subarray(start, end), target === this.#tail ? this.#tailAt : 0)
    this.#stored(target, end - start, digestHash(source.view, data - 32))
    return true
  }

  close(): void {
    this.#cache.clear()
    this.slab = noSlab
  }

  /** The open row if the section fits, else a new one; a section over the row size has a row of its own. */
  #reserve(bytes: number): Slab {
    if (bytes > rowBytes) return slabOver(new Uint8Array(bytes))
    if (this.#tailAt + bytes > rowBytes) {
      this.#write(this.#tail, this.#tailAt)
      this.#tail = slabOver(new Uint8Array(rowBytes))
      this.#tailAt = 0
    }
    return this.#tail
  }

  #stored(target: Slab, bytes: number, hash: number): void {
    const growth = this.#index.growthBytes()
    if (growth > 0) {
      this.#ledger.takeAnyway(growth)
      this.#ledger.give(growth / 2)
    }
    if (target === this.#tail) {
      this.#index.insert(hash, this.#tailRow * rowGrains + this.#tailAt / grainBytes)
      this.#tailAt += Math.ceil(bytes / grainBytes) * grainBytes
      return
    }
    if (this.#tailAt > 0) {
      this.#write(this.#tail, this.#tailAt)
      this.#tail = slabOver(new Uint8Array(rowBytes))
      this.#tailAt = 0
    }
    this.#index.insert(hash, this.#tailRow * rowGrains)
    this.#write(target, bytes)
  }

  #write(slab: Slab, bytes: number): void {
    if (this.#tailRow >= maxRow) throw new RepoStreamError('StoredBytesLimit', 'a disk store holds at most 32 GiB')
    this.#store.write(this.#tailRow, slab.bytes.subarray(0, bytes))
    this.#remember(this.#tailRow, slab)
    this.#tailRow++
  }

  #open(address: number): void {
    const slab = this.#row(Math.floor(address / rowGrains))
    const { bytes } = slab
    let at = (address % rowGrains) * grainBytes
    let byte = bytes[at++] ?? 0
    let length = byte & 0x7f
    for (let bits = 7; byte >= 0x80; bits += 7) {
      byte = bytes[at++] ?? 0
      length += (byte & 0x7f) << bits
    }
    this.slab = slab
    this.state = bytes[at] ?? 0
    this.from = at + cidBytes
    this.to = at + length
  }

  #row(id: number): Slab {
    if (id === this.#tailRow) return this.#tail
    const known = this.#cache.get(id)
    if (known !== undefined) return known
    const slab = slabOver(this.#store.read(id))
    this.#remember(id, slab)
    return slab
  }

  #remember(id: number, slab: Slab): void {
    this.#cache.set(id, slab)
    this.#cachedBytes += slab.bytes.length
    for (const [oldest, { bytes }] of this.#cache) {
      if (this.#cachedBytes <= this.#cacheBytes || oldest === id) return
      this.#cache.delete(oldest)
      this.#cachedBytes -= bytes.length
      freeNow(bytes)
    }
  }
}
