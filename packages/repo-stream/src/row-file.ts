// Sections in the rows of a disk store: appended in the order of arrival, opened by address. Rows read or written last stay
// in memory up to the cache's size; a row's memory is freed when it leaves, so an opened section is good until the next call.
// A section over the row size takes rows of its own and is put together when it is opened.
import { rowBytes, type SqliteStore } from './disk-store.ts'
import { RepoStreamError } from './errors.ts'
import { Section, type SectionParts, sectionBytes, writeSection } from './section.ts'
import { freeNow, type Slab, slabOver } from './slab.ts'

/** An address counts grains of 8 bytes, 8192 to a row: 32 bits reach 32 GiB. A section starts on a grain. */
const grainBytes = 8
const rowGrains = 8192
const maxRows = 2 ** 32 / rowGrains - 1

export class RowFile {
  /** The section opened last. */
  readonly section = new Section()
  /** Rows written. */
  rowCount = 0
  /** Rows read back. */
  readCount = 0
  readonly #store: SqliteStore
  /** Rows in memory, in a ring: the next one replaces the oldest. */
  readonly #cache: Slab[] = []
  readonly #cachedRows: number[] = []
  #maxCached = 1
  #nextCached = 0
  /** Where in the ring a row is. Not the slabs themselves: a dead table of a Map keeps alive what it held. */
  readonly #placeOf = new Map<number, number>()
  /** The row that grows, not written yet; its number is `rowCount`. */
  #tail = slabOver(new Uint8Array(rowBytes))
  #tailAt = 0

  constructor(store: SqliteStore) {
    this.#store = store
  }

  /** One row is in memory until it is said how many bytes of them may be. */
  set cacheBytes(bytes: number) {
    this.#maxCached = Math.max(1, Math.floor(bytes / rowBytes))
  }

  /** Appends a section as it is, from `start` to `end` of `source`; gives its address. */
  append(source: Slab, start: number, end: number): number {
    const bytes = end - start
    const section = source.bytes.subarray(start, end)
    if (bytes > rowBytes) return this.#appendRows(section)
    this.#makeRoom(bytes)
    this.#tail.bytes.set(section, this.#tailAt)
    return this.#advance(bytes)
  }

  /** Appends a section that is put together; gives its address. */
  appendParts(parts: SectionParts): number {
    const bytes = sectionBytes(parts.value.length)
    if (bytes > rowBytes) {
      const row = slabOver(new Uint8Array(bytes))
      writeSection(row, 0, parts)
      return this.#appendRows(row.bytes)
    }
    this.#makeRoom(bytes)
    writeSection(this.#tail, this.#tailAt, parts)
    return this.#advance(bytes)
  }

  /** Writes the row that grows, as it is. */
  flush(): void {
    if (this.#tailAt === 0) return
    const bytes = this.#tail.bytes.subarray(0, Math.min(this.#tailAt, rowBytes))
    this.#write(bytes)
    this.#remember(this.rowCount - 1, slabOver(bytes))
    this.#tail = slabOver(new Uint8Array(rowBytes))
    this.#tailAt = 0
  }

  open(address: number): void {
    const row = Math.floor(address / rowGrains)
    this.section.open(this.#row(row), (address % rowGrains) * grainBytes)
    if (this.isCut) this.section.open(slabOver(this.#assemble(row)), 0)
  }

  /** Opens the first section of a row, past the cache. */
  openRow(row: number): void {
    this.section.open(slabOver(this.#read(row)), 0)
  }

  /** Does the section that `openRow` opened go on in the next rows? */
  get isCut(): boolean {
    return this.section.to > this.section.slab.bytes.length
  }

  /** The row after those of the section that `openRow` opened. */
  rowAfter(row: number): number {
    return row + Math.max(1, Math.ceil(this.section.to / rowBytes))
  }

  /** Opens the section after the one that is open; false at the end of its row. */
  openNext(): boolean {
    const { slab, to } = this.section
    const next = nextGrain(to)
    if (next >= slab.bytes.length) return false
    this.section.open(slab, next)
    return true
  }

  /** The address of the open section, in row `row`. */
  addressIn(row: number): number {
    return row * rowGrains + this.section.start / grainBytes
  }

  clearCache(): void {
    for (const { bytes } of this.#cache) freeNow(bytes)
    this.#cache.length = 0
    this.#nextCached = 0
    this.#placeOf.clear()
  }

  #makeRoom(bytes: number): void {
    if (this.#tailAt + bytes > rowBytes) this.flush()
  }

  #advance(bytes: number): number {
    const address = this.rowCount * rowGrains + this.#tailAt / grainBytes
    this.#tailAt = nextGrain(this.#tailAt + bytes)
    return address
  }

  #appendRows(section: Uint8Array): number {
    this.flush()
    const address = this.rowCount * rowGrains
    for (let at = 0; at < section.length; at += rowBytes) this.#write(section.subarray(at, at + rowBytes))
    return address
  }

  #assemble(row: number): Uint8Array {
    const bytes = new Uint8Array(this.section.to)
    for (let at = 0, part = row; at < bytes.length; at += rowBytes, part++) bytes.set(this.#read(part), at)
    return bytes
  }

  #write(bytes: Uint8Array): void {
    if (this.rowCount === maxRows) throw new RepoStreamError('StoredBytesLimit', 'a disk store holds at most 32 GiB')
    this.#store.write(this.rowCount, bytes)
    this.rowCount++
  }

  #row(row: number): Slab {
    if (row === this.rowCount) return this.#tail
    const place = this.#placeOf.get(row)
    const known = place === undefined ? undefined : this.#cache[place]
    if (known !== undefined) return known
    const slab = slabOver(this.#read(row))
    this.#remember(row, slab)
    return slab
  }

  #read(row: number): Uint8Array {
    this.readCount++
    return this.#store.read(row)
  }

  #remember(row: number, slab: Slab): void {
    const place = this.#nextCached
    this.#nextCached = (place + 1) % this.#maxCached
    const oldest = this.#cache[place]
    if (oldest !== undefined) {
      this.#placeOf.delete(this.#cachedRows[place] ?? -1)
      freeNow(oldest.bytes)
    }
    this.#cache[place] = slab
    this.#cachedRows[place] = row
    this.#placeOf.set(row, place)
  }
}

function nextGrain(at: number): number {
  return Math.ceil(at / grainBytes) * grainBytes
}
