// What a walk has made of ONE repo so far: COPY rows by table, rejects, oddities, counts of what the config leaves out.
// It is the sink of the projection; its bytes come from the shared memory budget and go back when it is released.
import type { Commit, Entry } from 'repo-stream'
import type { Table } from './config.ts'
import type { MemoryBudget } from './memory-budget.ts'
import type { RowFields } from './project/answer.ts'
import type { KeepRaw, ProjectionSink } from './project/projection.ts'
import type { RowBuffer } from './row-buffer.ts'
import type { RowBuffers } from './row-buffers.ts'
import type { ClaimedRepo } from './state.ts'
import type { FinishedRepo, Oddity, Reject, RepoTotals, RowChunk, TableRows } from './write.ts'
import { refusedBytes } from './write-pieces.ts'
import { OddityAllowance } from './write-rejects.ts'
import { otherCollections } from './write-settle.ts'

/** Digests of blocks that claim another collection than their key's; of so many the next walk keeps every block raw. */
const maxLyingBlocks = 100_000
/** Collections of one repo that are counted by name; a repo can invent a million, and then the rest are one. */
const maxSkippedCollections = 500

export class RepoRows implements ProjectionSink {
  /** Records by collection that no table takes. */
  readonly skippedRecords = new Map<string, number>()
  rows = 0
  rejected = 0
  #rejects: Reject[] = []
  #oddities: Oddity[] = []
  /** Digests (latin1) of the blocks whose projection must wait until the walk knows their collection. */
  readonly #lying = new Set<string>()
  readonly #allowance = new OddityAllowance()
  readonly #claim: ClaimedRepo
  readonly #budget: MemoryBudget
  readonly #spare: RowBuffers
  readonly #buffers = new Map<Table, RowBuffer>()
  /** Of the row before, as most have the same. */
  #table: Table | undefined
  #buffer: RowBuffer | undefined
  #bytes = 0
  #budgetedBytes = 0

  constructor(claim: ClaimedRepo, { budget, rowBuffers }: { budget: MemoryBudget; rowBuffers: RowBuffers }) {
    this.#claim = claim
    this.#budget = budget
    this.#spare = rowBuffers
  }

  /** Bytes of the rows, rejects and oddities that are held now. */
  get bytes(): number {
    return this.#bytes
  }

  row(table: Table, entry: Entry, fields: RowFields): void {
    const buffer = this.#bufferOf(table)
    const before = buffer.bytes
    buffer.appendRow(this.#claim.id, entry, fields)
    this.#bytes += buffer.bytes - before
    this.rows++
  }

  #bufferOf(table: Table): RowBuffer {
    if (this.#buffer !== undefined && table === this.#table) return this.#buffer
    const buffer = this.#buffers.get(table) ?? this.#spare.take(table)
    this.#buffers.set(table, buffer)
    this.#table = table
    this.#buffer = buffer
    return buffer
  }

  #dropBuffers(): void {
    this.#buffers.clear()
    this.#table = this.#buffer = undefined
  }

  oddity(_table: Table, entry: Entry, column: string, code: string, original: Uint8Array): void {
    if (!this.#allowance.allows(original)) return
    const oddity = { collection: entry.collection, rkey: entry.rkey, column, code, original: original.slice() }
    this.#oddities.push(oddity)
    this.#bytes += refusedBytes(oddity)
  }

  reject(entry: Entry, code: string, message: string, bytes: Uint8Array): void {
    this.rejected++
    const { collection, rkey } = entry
    const reject = { collection, rkey, cid: entry.cid.slice(4), code, message, bytes: bytes.slice() }
    this.#rejects.push(reject)
    this.#bytes += refusedBytes(reject)
  }

  skipped(collection: string): void {
    const known = this.skippedRecords.has(collection) || this.skippedRecords.size < maxSkippedCollections
    const name = known ? collection : otherCollections
    this.skippedRecords.set(name, (this.skippedRecords.get(name) ?? 0) + 1)
  }

  again(entry: Entry): void {
    if (this.#lying.size < maxLyingBlocks) this.#lying.add(Buffer.from(entry.cid.subarray(4)).toString('latin1'))
  }

  /** What the next walk must keep raw; undefined when this one is enough. */
  get keepRaw(): KeepRaw | undefined {
    if (this.#lying.size === 0) return undefined
    return this.#lying.size < maxLyingBlocks ? this.#lying : 'all'
  }

  /** Takes what is held now from the budget; false when it does not fit, and then it is better written than kept. */
  reserve(): boolean {
    const more = this.#bytes - this.#budgetedBytes
    if (more > 0 && !this.#budget.take(more)) return false
    this.#budgetedBytes += Math.max(0, more)
    return true
  }

  /** The repo as it joins a batch with others. */
  finish(commit: Commit): FinishedRepo {
    const tables = new Map<number, TableRows>()
    for (const [table, buffer] of this.#buffers) tables.set(table.index, { rows: buffer.rows, bytes: buffer.take() })
    return { claim: this.#claim, ...this.totals(commit), tables, rows: this.rows, bytes: this.#bytes }
  }

  /** Nobody looks any more at the rows that `finish` gave. */
  readonly recycle = (): void => {
    for (const [table, buffer] of this.#buffers) this.#spare.give(table, buffer)
    this.#dropBuffers()
  }

  /** What goes into the repo's state beside its rows. */
  totals(commit: Commit): RepoTotals {
    this.#oddities.push(...this.#allowance.notKept())
    return { rev: commit.rev, head: commit.cid, skipped: this.skippedRecords, ...this.#takeOdd() }
  }

  /** Everything that is held, piece by piece, and then held here no more. */
  *drain(): Generator<RowChunk> {
    for (const [table, buffer] of this.#buffers) yield { table: table.index, rows: buffer.rows, bytes: buffer.take() }
    this.#dropBuffers()
    if (this.#rejects.length + this.#oddities.length > 0) yield this.#takeOdd()
    this.#bytes = 0
  }

  #takeOdd(): { rejects: Reject[]; oddities: Oddity[] } {
    const odd = { rejects: this.#rejects, oddities: this.#oddities }
    this.#rejects = []
    this.#oddities = []
    return odd
  }

  /** Forgets the rows that are held: the repo will be walked again. */
  drop(): void {
    for (const _ of this.drain());
  }

  /** Gives back what `reserve` took. */
  release(): void {
    this.#budget.give(this.takeHeld())
  }

  /** What `reserve` took, and is the caller's to give back. */
  takeHeld(): number {
    const held = this.#budgetedBytes
    this.#budgetedBytes = 0
    return held
  }
}
