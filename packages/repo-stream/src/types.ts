// The shapes that callers see: options in, entries, commit and drivers out.
import type { Limits } from './limits.ts'

/** A CAR: its bytes, or its bytes in pieces of any size. A web `ReadableStream` and a Node `Readable` are iterables. */
export type CarSource = Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>

/** Bytes and a view for reading words of them. */
export interface Memory {
  readonly bytes: Uint8Array
  readonly view: DataView
}

/** A stretch of memory. */
export interface Place {
  readonly memory: Memory
  readonly from: number
  readonly to: number
}

/**
 * Makes a record smaller before it is kept or spilled. `block` and `digest` (the 32 bytes of its hash) are views that are
 * valid during the call only, and so is `place`, which says where the block lies, for who reads words of it: to make a view
 * for each block, or to ask one for its buffer, costs more than many a block. The returned bytes are copied before the next call, so they may be a scratch buffer's view.
 * What it throws surfaces as `error` on the entries of that record, with the raw bytes as `data`. It is called during the walk
 * for a record on which it threw, and for one that could be a node of the tree.
 */
export type Process = (block: Uint8Array, digest: Uint8Array, place: Place) => Uint8Array

/** Bytes shared by many loads, or by many stores: every growth is asked for first. A load that is refused goes to disk. */
export interface MemoryBudget {
  /** May this load hold `bytes` more? Called before they are allocated. */
  take(bytes: number): boolean
  /** `bytes` taken before are free again. */
  give(bytes: number): void
}

/** Opens a disk store for a walk that needs one now. */
export type OpenStore = () => DiskStore | Promise<DiskStore>

export interface LoadOptions {
  /** Most bytes that the load keeps in memory (blocks, processed records, index) before it suspends; 4 GiB of blocks at most. Default 16 MiB. */
  readonly memoryLimitBytes?: number | undefined
  /** Default: records are kept as they are. */
  readonly process?: Process | undefined
  /** Check that every block has the hash of its CID. Default true. Key order, depth and prefixes are checked always. */
  readonly verifyHashes?: boolean | undefined
  /** Instead of the defaults, which are `defaultLimits`; what passes one ends the load in `LimitExceeded`. */
  readonly limits?: Partial<Limits> | undefined
  /**
   * Aborting rejects the call that is pending, or else the next one, with the signal's reason; that call releases everything. A load
   * or driver of which nothing is called any more is released by `discard` or `close` only.
   */
  readonly signal?: AbortSignal | undefined
  /** Shared with other loads, beside `memoryLimitBytes`. Default: none. */
  readonly budget?: MemoryBudget | undefined
  /**
   * What to do with a CAR in preorder (sync v1.1), whose records can come out while its bytes come in. `stream` (default):
   * the driver is given early, with `streaming` true, where a disk store is at hand: in `finishLoading`, or at once with
   * `openStore`. `buffer`: a driver is given only when all bytes are in.
   */
  readonly preorder?: 'stream' | 'buffer' | undefined
  /** Gives `loadCar` a store for the case that a streaming walk passes the memory limit; called at most once. */
  readonly openStore?: OpenStore | undefined
  /** Entries are good until `close()` only, whose memory the next load may have at once; by default the collector frees it in its time. */
  readonly freeOnClose?: boolean | undefined
}

/** Where the parts of an entry lie, for a caller that copies them on: making a view costs more than the copy. */
export interface EntryPlace {
  /** The rkey is ASCII in `keyBytes` from `rkeyFrom` to `rkeyTo`. */
  readonly keyBytes: Uint8Array
  readonly rkeyFrom: number
  readonly rkeyTo: number
  /** The 32 bytes of the record's digest start at `digestFrom` of `node`. */
  readonly node: Memory
  readonly digestFrom: number
  /** `data` is in `record` from `dataFrom` to `dataTo`. */
  readonly record: Memory
  readonly dataFrom: number
  readonly dataTo: number
}

/** One record of the repo, in key order. Fields stay valid for as long as the entry is held, also after `close()`. */
export interface Entry extends EntryPlace {
  /** `collection/rkey`. Entries come in the byte order of this string. */
  readonly key: string
  readonly collection: string
  readonly rkey: string
  /** 36 bytes: `01 71 12 20` and the 32 bytes of the digest. */
  readonly cid: Uint8Array
  /** What `process` returned, or the record's bytes. */
  readonly data: Uint8Array
  /** What `process` threw for this record; `data` is then the record's bytes. */
  readonly error?: unknown
}

/** The signed root of a repo. Whether the signature is right is for `verifyCommit` to say. */
export interface Commit {
  readonly did: string
  readonly version: 3
  /** CID of the tree's root node, 36 bytes. */
  readonly data: Uint8Array
  /** A TID; the sender's word, it may lie in the future. */
  readonly rev: string
  /** CID of an earlier commit, 36 bytes; null in every repo of today. */
  readonly prev: Uint8Array | null
  readonly sig: Uint8Array
  /** CID of the commit itself, 36 bytes. */
  readonly cid: Uint8Array
  /** The exact bytes that `sig` signs: the commit's canonical DAG-CBOR without `sig`. */
  readonly signedBytes: Uint8Array
}

export interface Driver extends AsyncDisposable {
  /** True while bytes of the CAR are still to come: an error may still follow, and the entries given are provisional. */
  readonly streaming: boolean
  /**
   * The next entries in key order, at most `maxEntries` and at least one; `undefined` at the end. A chunk ends after 4 MiB of
   * records that were read from the disk or processed for it. One call at a time.
   */
  nextChunk(maxEntries: number): Promise<Entry[] | undefined>
  /** Frees memory, budget and the store's file. Idempotent; needed also after an error. */
  close(): Promise<void>
}

export interface LoadedCar {
  readonly commit: Commit
  readonly driver: Driver
}

export interface MemoryCar extends LoadedCar {
  readonly kind: 'memory'
}

/** A load that needs a disk to go on. Until one of its functions is called it holds its memory and reads nothing. */
export interface DiskCar {
  readonly kind: 'disk'
  /**
   * Moves what is held to `store`, reads on, and gives the driver, which owns the store from here on. When it fails, everything is
   * freed and the store closed. Give it a function that opens the store, and that holds also when there is none to be had.
   */
  finishLoading(store: DiskStore | OpenStore): Promise<LoadedCar>
  /** Frees everything and cancels the source. */
  discard(): Promise<void>
}

export interface DiskStoreOptions {
  /** Memory for blocks read back, beside up to 4 MiB of neighbours where the order of the CAR scatters them. Default 8 MiB. */
  readonly cacheBytes?: number | undefined
  /** Most bytes that are written to the file, counted in its pages of 64 KiB. Default 16 GiB. */
  readonly maxStoredBytes?: number | undefined
  /** Disk shared by many stores: asked before each write, given back by `close`. A refusal ends the walk: `StoreBudgetSpent`. */
  readonly budget?: MemoryBudget | undefined
}

/** A temporary file of one walk; made by `openDiskStore`, removed by `close`. */
export interface DiskStore extends AsyncDisposable {
  readonly path: string
  /** Bytes of the file, in pages of 64 KiB, but for the few that SQLite needs itself. */
  readonly storedBytes: number
  close(): Promise<void>
}
