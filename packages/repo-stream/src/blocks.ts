// What a walk needs of a store of blocks, be it in memory or on disk.
import type { Section, SectionParts } from './section.ts'
import type { Slab } from './slab.ts'

/** Digests that stand at `links` of `slab`, as many as `linkCount`; -1 is none. */
export interface Links {
  readonly slab: Slab
  readonly links: Int32Array
  readonly linkCount: number
  /** `locate` puts here what `open` takes, or 0 where `find` has to look. */
  readonly located: Uint32Array
}

export interface BlockStore {
  /** What `find` found last. */
  readonly found: Section
  /** Does it stay where it is? If not, it is good until the next call of any function here. */
  readonly isStable: boolean
  /** Are blocks in memory that the store holds anyway? If not, each that is found takes memory of its own. */
  readonly holdsBlocks: boolean
  /** Looks for the block whose digest stands at `at` of `view`. */
  find(view: DataView, at: number): boolean
  /** Looks for what the first `count` nodes link. Only a store whose blocks stay where they are can. */
  locate?(nodes: readonly Links[], count: number): void
  /** Finds a block that was located. */
  open?(located: number): void
  /** Keeps a block that is put together. False: memory is refused. */
  keep(parts: SectionParts): boolean
  /** Keeps the section from `start` to `end` of `source`, whose block starts at `data`, as it is. False: memory is refused. */
  keepSection(source: Slab, start: number, data: number, end: number): boolean
  close(): void
}
