// Writes finished repos: rows, rejects, counts and state of many repos in one transaction, under the fence (I1).
// Small repos share batches that end on rows, bytes, repos or time; a large one has its own transaction, fed by its walk. While a
// batch is being written the next one fills, so encoding and Postgres overlap.
import type { Config } from './config.ts'
import type { Database } from './database.ts'
import { translate } from './database-transact.ts'
import type { ClaimedRepo } from './state.ts'
import { writeBatch } from './write-batch.ts'
import { type GoneOutcome, type InactivePolicy, settleGone } from './write-gone.ts'
import { writeLarge } from './write-large.ts'
import { Slots } from './write-slots.ts'
import { prepareTables, type WriteContext } from './write-tables.ts'

/** A record that cannot be stored. Collection and rkey may be anything that a stranger wrote. */
export interface Reject {
  collection: string
  rkey: string
  /** 32 digest bytes. */
  cid: Uint8Array
  code: string
  message: string
  /** The record's block. */
  bytes: Uint8Array
}

/** A value that its column could not hold exactly. */
export interface Oddity {
  collection: string
  rkey: string
  column: string
  code: string
  original: Uint8Array
}

export interface TableRows {
  rows: number
  /** Whole rows in COPY format, as `RowBuffer` gives them. */
  bytes: Buffer[]
}

export interface RepoTotals {
  rev: string
  /** CID of the commit, 36 bytes. */
  head: Uint8Array
  rejects: readonly Reject[]
  oddities: readonly Oddity[]
  /** Records by collection that no table takes. */
  skipped: ReadonlyMap<string, number>
}

export interface FinishedRepo extends RepoTotals {
  claim: ClaimedRepo
  /** By `Table.index`. */
  tables: ReadonlyMap<number, TableRows>
  rows: number
  bytes: number
}

/** What a walk hands over as it goes: rows of one table, or what could not be stored. */
export type RowChunk = TableChunk | RefusedChunk

export interface TableChunk extends TableRows {
  /** `Table.index`. */
  table: number
  /** Called when Postgres has the rows: the buffers may be freed. Not called when the write fails. */
  release?: () => void
}

export interface RefusedChunk {
  rejects: readonly Reject[]
  oddities: readonly Oddity[]
}

/** `fenced`: the claim was no longer ours, or the rows are no longer those it started from; nothing was written. */
export type WriteOutcome = 'committed' | 'fenced'

export interface WriteLimits {
  /** A batch ends when it has so many rows, */
  batchMaxRows: number
  /** so many bytes (what is held in memory until it is committed), */
  batchMaxBytes: number
  /** so many repos (their rows of `repos` are locked together), */
  batchMaxRepos: number
  /** or this age, if a connection is free; the first few sooner, so that a short run does not wait. */
  batchMaxMs: number
  /** Batches that are written at the same time. */
  connections: number
  /** Large repos that are written at the same time. */
  largeConnections: number
  /** Rows of a large repo that go in one COPY; held twice, because the next ones are collected meanwhile. */
  pieceBytes: number
}

/**
 * A batch is given time to grow because each COPY costs Postgres 1.5 ms by itself from a thousand rows on, whatever they are: since 17 it
 * looks through all slots for rows that it has made so far to make one more. 300,000 rows took 1.29 and 1.26 s of Postgres with batches of
 * 50,000, 0.99 twice with these; where the machine was so busy that time ended them, 1.31 and 1.25. `bench/write.ts` compares a choice with psql.
 */
export const defaultWriteLimits: WriteLimits = {
  batchMaxRows: 150_000,
  batchMaxBytes: 32 * 1024 * 1024,
  batchMaxRepos: 1_000,
  batchMaxMs: 1_000,
  connections: 2,
  largeConnections: 2,
  pieceBytes: 4 * 1024 * 1024,
}

/** Two batches that are written and one that fills leave most of the memory to walks. */
export function limitsWithin(memoryBytes: number): Partial<WriteLimits> {
  return { batchMaxBytes: Math.min(defaultWriteLimits.batchMaxBytes, memoryBytes / 8) }
}

export interface WriterOptions {
  database: Database
  config: Config
  /** Our row in `processes`: it chooses the counters' rows. */
  process: () => number
  limits?: Partial<WriteLimits>
  /** Called before the rows of these accounts are removed for good. */
  onRemove?: ((dids: string[]) => Promise<void>) | undefined
}

export interface Writer {
  /**
   * Joins a batch; settles with its transaction. Throws `RepoRefused` for this repo, or what ends the run: `DatabaseUnavailable`,
   * `DatabaseFull`, `DuplicateKey`.
   * The buffers belong to the writer from here on.
   */
  add(repo: FinishedRepo): Promise<WriteOutcome>
  /**
   * Writes a repo whose rows come in chunks, those of a table together; `totals` is asked at the end. What `chunks` throws is thrown,
   * and nothing was written. Throws `WriteInterrupted` when the database went away in the middle, and `RepoRefused`.
   */
  addLarge(claim: ClaimedRepo, chunks: AsyncIterable<RowChunk>, totals: () => RepoTotals): Promise<WriteOutcome>
  /** Removes, hides or shows the rows of repos that are gone. */
  settleGone(policy: InactivePolicy): Promise<GoneOutcome>
  /** Writes what is waiting without delay, over all free connections: nothing more is about to join it. */
  flush(): void
  /** Writes everything, then ends. */
  close(): Promise<void>
}

interface Waiting {
  repo: FinishedRepo
  settled: PromiseWithResolvers<WriteOutcome>
}

export function openWriter({ database, config, process, limits: given, onRemove }: WriterOptions): Writer {
  const limits = { ...defaultWriteLimits, ...given }
  const context: WriteContext = { database, config, tables: prepareTables(config), process }
  const batches = new Slots(limits.connections)
  const larges = new Slots(limits.largeConnections)
  let batch = new Batch()
  let timer: NodeJS.Timeout | undefined
  let lingerMs = limits.batchMaxMs / 32
  let failure: { error: unknown } | undefined

  const send = ({ connections = 1 } = {}) => {
    clearTimeout(timer)
    timer = undefined
    if (batch.repos.length === 0) return
    const full = batch
    batch = new Batch()
    lingerMs = Math.min(limits.batchMaxMs, lingerMs * 2)
    for (const repos of full.split(connections)) write(repos)
  }
  const flush = () => send({ connections: batches.idle })
  const write = (repos: readonly Waiting[]) => {
    void batches.run(async (slot) => {
      try {
        if (failure !== undefined) throw failure.error
        const outcomes = await writeBatch(
          repos.map(({ repo }) => repo),
          { ...context, role: firstBatchRole + slot },
        )
        for (const [index, { settled }] of repos.entries()) {
          const outcome = outcomes[index] ?? 'fenced'
          if (typeof outcome === 'string') settled.resolve(outcome)
          else settled.reject(outcome)
        }
      } catch (error) {
        failure = { error: translate(error) }
        for (const { settled } of repos) settled.reject(failure.error)
      }
    })
  }
  const isFull = () =>
    batch.rows >= limits.batchMaxRows ||
    batch.bytes >= limits.batchMaxBytes ||
    batch.repos.length >= limits.batchMaxRepos
  /** Nobody waits for a batch that could be under way; and while all connections work, it may as well grow. */
  const sendWhenDue = () => {
    timer = undefined
    if (batches.idle > 0) send()
    else timer = setTimeout(sendWhenDue, limits.batchMaxMs / 10)
  }

  return {
    add(repo) {
      if (failure !== undefined) return Promise.reject(failure.error)
      const settled = Promise.withResolvers<WriteOutcome>()
      batch.add({ repo, settled })
      if (isFull()) send()
      else timer ??= setTimeout(sendWhenDue, lingerMs)
      return settled.promise
    },
    addLarge: (claim, chunks, totals) =>
      larges.run(async (slot) => {
        if (failure !== undefined) throw failure.error
        const role = firstLargeRole + slot
        return await writeLarge({ claim, chunks, totals, pieceBytes: limits.pieceBytes }, { ...context, role })
      }),
    settleGone: (policy) =>
      larges.run((slot) => settleGone(policy, { ...context, role: firstLargeRole + slot, onRemove })),
    flush,
    async close() {
      flush()
      await batches.empty()
      await larges.empty()
    },
  }
}

// Roles 0 to 3 are those of state*.ts; see counters.ts.
const firstBatchRole = 4
const firstLargeRole = 6

/** Postgres takes 17 ms for them, and a transaction costs it some by itself. */
const minPartRows = 5_000

class Batch {
  readonly repos: Waiting[] = []
  rows = 0
  bytes = 0

  add(waiting: Waiting): void {
    this.repos.push(waiting)
    this.rows += waiting.repo.rows
    this.bytes += waiting.repo.bytes
  }

  /** Into at most so many parts of about as many rows each, if they are worth it. */
  *split(maxParts: number): Generator<readonly Waiting[]> {
    const parts = Math.min(maxParts, Math.floor(this.rows / minPartRows))
    let part: Waiting[] = []
    let made = 0
    let rows = 0
    for (const waiting of this.repos) {
      part.push(waiting)
      rows += waiting.repo.rows
      if (made + 1 >= parts || rows * parts < this.rows * (made + 1)) continue
      yield part
      part = []
      made++
    }
    if (part.length > 0) yield part
  }
}
