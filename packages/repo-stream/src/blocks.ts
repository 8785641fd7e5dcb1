// What a walk needs of a store of blocks, be it in memory or on disk.
import type { Section, SectionParts } from './section.ts'
import type { Slab } from './slab.ts'

export interface BlockStore {
  /** What `find` found last. */
  readonly found: Section
  /** Does it stay where it is? If not, it is good until the next call of any function here. */
  readonly isStable: boolean
  /** A chunk of entries ends when it holds so many bytes: a thousand records of 1 MB read from disk would be a gigabyte. */
  readonly maxChunkBytes: number
  /** Looks for the block whose digest stands at `at` of `view`. */
  find(view: DataView, at: number): boolean
  /**
   * Looks for the blocks of many digests, of those that stand at `links` of `view`, the first `count`; -1 is none. Puts into
   * `located` what `open` takes, or 0 where `find` has to look. For a store whose blocks stay where they are.
   */
  locate?(view: DataView, links: Int32Array, count: number, located: Uint32Array): void
  /** Finds a block that was located. */
  open?(located: number): void
  /** Keeps a block that is put together. False: memory is refused. */
  keep(parts: SectionParts): boolean
  /** Keeps the section from `start` to `end` of `source`, whose block starts at `data`, as it is. False: memory is refused. */
  keepSection(source: Slab, start: number, data: number, end: number): boolean
  close(): void
}
