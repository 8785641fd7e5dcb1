// One load in progress: reads the source into a store of blocks, in memory first, on disk after `moveToDisk`. It stops where
// memory is refused and goes on from there, at any byte, with nothing lost or read twice.
import type { BlockStore } from './blocks.ts'
import { CarReader } from './car.ts'
import { cidOf, cidText, digestBytes } from './cid.ts'
import { decodeCommit } from './commit.ts'
import { DiskBlocks } from './disk-blocks.ts'
import { SqliteStore } from './disk-store.ts'
import { RepoStreamError } from './errors.ts'
import { Input } from './input.ts'
import { Ledger } from './ledger.ts'
import { checkBytes, type Limits, limitError, resolveLimits } from './limits.ts'
import { MemoryBlocks } from './memory-blocks.ts'
import { Processing } from './processing.ts'
import { looksLikeNode } from './section.ts'
import { hasDigest } from './sha256.ts'
import { type DigestAt, type Slab, slabOver, viewOf } from './slab.ts'
import type { CarSource, Commit, DiskStore, LoadOptions, OpenStore, Process } from './types.ts'
import { stepBytes, Window } from './window.ts'

const defaultMemoryLimitBytes = 16 * 1024 * 1024
/** Of the memory limit, one in so much is for the index of a spilled streaming walk, which needs little of it. */
const indexShare = 4
/** Bytes parsed between two turns of the event loop, about 20 ms. A promise for a chunk may be one that is ready: waiting for it is no turn. */
const turnBytes = 32 * stepBytes
/** What a chunk counts as beside its bytes: 8192 empty ones from an async source take 16 ms. */
const chunkCostBytes = 1024
/** A digest to be looked up. One for all loads: it is needed during the lookup only. */
const wanted = slabOver(new Uint8Array(digestBytes))

/** `full`: memory was refused; a disk store is needed to go on. */
export type ReadOutcome = 'enough' | 'end' | 'full'

export class Load {
  readonly limits: Limits
  readonly process: Process | undefined
  readonly signal: AbortSignal | undefined
  readonly #options: LoadOptions
  readonly #ledger: Ledger
  readonly #memoryLimitBytes: number
  readonly #input: Input | undefined
  readonly #reader: CarReader
  readonly #window: Window
  readonly #verifyHashes: boolean
  readonly #processing: Processing | undefined
  #memory: MemoryBlocks | undefined
  #store: SqliteStore | undefined
  #disk: DiskBlocks | undefined
  #full = false
  #readBytes = 0
  #untilTurn = turnBytes
  #startsWithCommit = false
  #secondDigest: Uint8Array | undefined
  #arriving: Promise<Uint8Array | undefined> | undefined
  ended = false
  /** A walk looks at what is held, so memory that is given up must last. */
  isWalked = false
  closed = false

  constructor(source: CarSource, options: LoadOptions) {
    this.#options = options
    this.limits = resolveLimits(options.limits)
    this.process = options.process
    this.signal = options.signal
    this.#processing = this.process && new Processing(this.process)
    this.#verifyHashes = options.verifyHashes ?? true
    this.#reader = new CarReader(this.limits)
    this.#memoryLimitBytes = checkBytes('memoryLimitBytes', options.memoryLimitBytes ?? defaultMemoryLimitBytes)
    // before any memory is taken: a locked stream is refused here
    this.#input = source instanceof Uint8Array ? undefined : new Input(source, options.signal)
    this.#ledger = new Ledger(this.#memoryLimitBytes, options.budget)
    this.#memory = new MemoryBlocks(this.#ledger)
    this.#window = new Window(this.#ledger)
    if (source instanceof Uint8Array) {
      const bytes = new Uint8Array(source.buffer, source.byteOffset, source.byteLength) // a Buffer's `slice` is no copy
      this.#window.useWhole(this.process === undefined ? this.#memory.borrow(bytes) : slabOver(bytes))
    }
  }

  get blocks(): BlockStore {
    const blocks = this.#disk ?? this.#memory
    if (blocks === undefined) throw new RepoStreamError('Closed', 'the load is closed')
    return blocks
  }

  get rootDigest(): Uint8Array | undefined {
    return this.#reader.rootDigest
  }

  /** Reads until `enough` says so, the end, or until memory is refused. Looks at `enough` after each step. */
  async read(enough: () => boolean): Promise<ReadOutcome> {
    for (;;) {
      if (this.#arriving !== undefined) {
        const chunk = await this.#arriving
        this.#arriving = undefined
        this.#checkOpen()
        this.#receive(chunk)
      }
      const outcome = this.readAtHand(enough)
      if (outcome !== undefined) return outcome
      if (this.#arriving === undefined) await this.#turn()
    }
  }

  /** The same as far as it goes without waiting. Undefined: it has to, and `read` goes on from there. */
  readAtHand(enough: () => boolean): ReadOutcome | undefined {
    for (;;) {
      this.signal?.throwIfAborted()
      if (this.#parse() === 'full') return 'full'
      if (enough()) return 'enough'
      if (this.ended) return 'end'
      if (this.#untilTurn <= 0) return undefined
      if (this.#window.hasMore) {
        if (!this.#advance()) return 'full'
        continue
      }
      this.#window.leaveChunk()
      const next = this.#input?.next()
      if (next instanceof Promise) {
        this.#arriving = next
        return undefined
      }
      this.#receive(next)
    }
  }

  /** The commit, once its block is in. */
  commit(): Commit {
    const digest = this.rootDigest
    const { blocks } = this
    wanted.bytes.fill(0)
    if (digest !== undefined) wanted.bytes.set(digest)
    if (digest === undefined || !blocks.find(wanted.view, 0)) {
      throw new RepoStreamError('MissingCommit', 'the commit that the CAR names is not in it', {
        cid: cidText(wanted.bytes, 0),
      })
    }
    const { slab, from, to } = blocks.found
    return decodeCommit(viewOf(slab, from, to), cidOf(digest, 0))
  }

  /** Did the CAR begin as one in preorder does: with the commit, then the root of the tree? */
  get startsInPreorder(): boolean {
    const second = this.#secondDigest
    return (
      this.#startsWithCommit && second !== undefined && Buffer.compare(second, this.commit().data.subarray(4)) === 0
    )
  }

  /** Have the first two blocks come in? */
  get hasStarted(): boolean {
    return this.#reader.blocks >= 2
  }

  /** Makes a store the load's own: whatever happens then, `close` closes it. */
  async takeStore(given: DiskStore | OpenStore): Promise<void> {
    const store = typeof given === 'function' ? await given() : given
    if (!(store instanceof SqliteStore)) throw new TypeError('a load moves to a store of openDiskStore')
    store.own()
    this.#store = store
    if (this.closed) await store.close()
    this.#checkOpen()
    this.signal?.throwIfAborted()
  }

  /** Moves everything held to the store that was taken and gives its memory back. `streams`: the walk takes blocks as they come. */
  moveToDisk({ streams }: { streams: boolean }): void {
    this.#checkOpen()
    const memory = this.#memory
    const store = this.#store
    if (memory === undefined || store === undefined) throw new TypeError('a load moves once, to a store that it has')
    const heldBytes = this.#ledger.heldBytes - this.#window.ownBytes
    const maxIndexBytes = streams ? this.#memoryLimitBytes / indexShare : Number.POSITIVE_INFINITY
    const blocks = new DiskBlocks(store, this.#ledger, { maxIndexBytes })
    this.#disk = blocks
    blocks.keepAll(memory)
    this.#window.detach()
    if (this.isWalked) memory.close()
    else memory.free()
    this.#memory = undefined
    this.#ledger.give(heldBytes)
    blocks.takeCache()
    this.#full = false
  }

  /** Memory was refused in the middle of a walk: goes on with the store that the caller set ready. */
  async openStore(): Promise<void> {
    const { openStore } = this.#options
    if (this.#memory === undefined || openStore === undefined)
      throw new TypeError('a load on disk is refused no memory')
    await this.takeStore(openStore)
    this.moveToDisk({ streams: true })
  }

  /** Has a spilled CAR an order that makes most lookups read from the disk? */
  isScattered(): boolean {
    return this.#disk?.isScattered({ isWhole: this.ended }) === true
  }

  /** Rearranges such a CAR. */
  async gather(root: DigestAt): Promise<void> {
    await this.#disk?.gather(root, async () => {
      await this.#turn()
      this.signal?.throwIfAborted()
    })
  }

  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    this.#input?.cancel()
    this.#window.close()
    if (this.#options.freeOnClose === true) this.#memory?.free()
    else this.#memory?.close()
    this.#disk?.close()
    this.#memory = undefined
    this.#ledger.giveAll()
    await this.#store?.close()
  }

  #receive(chunk: Uint8Array | undefined): void {
    if (chunk === undefined) {
      this.#end()
      return
    }
    this.#readBytes += chunk.length
    this.#untilTurn -= chunkCostBytes
    this.#checkTotal()
    this.#window.setChunk(chunk)
  }

  #checkTotal(): void {
    const { maxTotalBytes } = this.limits
    if (this.#readBytes > maxTotalBytes)
      throw limitError('maxTotalBytes', { max: maxTotalBytes, actual: this.#readBytes, offset: maxTotalBytes })
  }

  #end(): void {
    this.ended = true
    this.#reader.end(this.#window.to - this.#window.from)
    this.#window.close()
  }

  #advance(): boolean {
    const before = this.#window.to - this.#window.from
    const memory = this.process === undefined ? this.#memory : undefined
    if (!this.#window.advance(this.#reader.waitingBytes, memory)) return false
    const bytes = this.#window.to - this.#window.from - before
    this.#untilTurn -= bytes
    if (this.#input === undefined) {
      this.#readBytes += bytes
      this.#checkTotal()
    }
    return true
  }

  async #turn(): Promise<void> {
    this.#untilTurn = turnBytes
    await new Promise((resolve) => setImmediate(resolve))
    this.#checkOpen()
  }

  /** Due after every wait: the load may have been closed meanwhile. */
  #checkOpen(): void {
    if (this.closed) throw new RepoStreamError('Closed', 'the load was closed before it was done')
  }

  #parse(): 'full' | 'parsed' {
    const window = this.#window
    if (window.from === window.to) return 'parsed'
    this.#full = false
    window.from = this.#reader.parse(window.slab, window.from, window.to, this.#takeBlock)
    this.#memory?.settle()
    return this.#full ? 'full' : 'parsed'
  }

  readonly #takeBlock = (slab: Slab, start: number, data: number, end: number): boolean => {
    // one view for the hash and for `process`: it costs a tenth of either
    const block = this.#verifyHashes || this.process !== undefined ? viewOf(slab, data, end) : slab.bytes
    if (this.#verifyHashes && !hasDigest(block, slab.view, data - 32)) {
      throw new RepoStreamError('BlockHashMismatch', 'the bytes of a block do not have the hash of its CID', {
        offset: this.#reader.offset,
        cid: cidText(slab.bytes, data - 32),
      })
    }
    const kept = this.#keep(slab, start, data, end, block)
    this.#full = !kept
    if (kept && this.#reader.blocks === 0) this.#startsWithCommit = this.#isCommit(slab, data)
    if (kept && this.#reader.blocks === 1 && this.#startsWithCommit) {
      this.#secondDigest = slab.bytes.slice(data - digestBytes, data)
    }
    return kept
  }

  #keep(slab: Slab, start: number, data: number, end: number, block: Uint8Array): boolean {
    const processing = this.#processing
    if (processing === undefined) {
      return this.#memory?.index(slab, start, data) ?? this.blocks.keepSection(slab, start, data, end)
    }
    if (looksLikeNode(slab.bytes, data, end) || this.#isCommit(slab, data))
      return this.blocks.keepSection(slab, start, data, end)
    return this.blocks.keep(processing.partsOf(slab, data, end, block))
  }

  #isCommit(slab: Slab, data: number): boolean {
    const root = this.rootDigest
    for (let i = 0, at = data - digestBytes; i < digestBytes; i++) if (slab.bytes[at + i] !== root?.[i]) return false
    return true
  }
}
