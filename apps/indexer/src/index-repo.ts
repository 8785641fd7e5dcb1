// ONE repo, from its host to its rows: fetch -> walk -> project -> write. The file to read first.
// Input: a claimed repo. Output: its rows, handed to the writer; they are safe when `written` says so. The surprise: a
// record is projected before anybody knows its key, so a repo whose blocks lie about their collection is walked twice.
import { type Commit, type Driver, loadCar, microsFromTid, openDiskStore, spillPath, verifyCommit } from 'repo-stream'
import type { ArchiveCopy } from './archive-write.ts'
import type { Config } from './config.ts'
import { IndexerError } from './errors.ts'
import type { MemoryBudget } from './memory-budget.ts'
import type { RepoPace } from './pace.ts'
import { createProjection, type KeepRaw, type Projection } from './project/projection.ts'
import { RepoRows } from './repo-rows.ts'
import type { Resolver } from './resolve.ts'
import type { RowBuffers } from './row-buffers.ts'
import type { ClaimedRepo } from './state.ts'
import { verifySignature } from './verify-signature.ts'
import type { FinishedRepo, RowChunk, WriteOutcome, Writer } from './write.ts'

/** Entries that one step of a walk gives: enough to make a step's cost vanish, few enough to keep the loop responsive. */
const entriesPerChunk = 256
/** Rows of a large repo that cross to the writer at once: step by step they cost a twentieth of its time more (docs/profile.md). */
const sentBytes = 256 * 1024
/** A rev is a time; one further ahead than this would win against every later one. */
const maxRevAheadMs = 10 * 60_000
/** One repo leaves room for others on the disk that they share. */
const maxShareOfSpills = 0.5
/** Page cache of a walk on disk; measured in packages/repo-stream/RESULTS.md. */
const diskCacheBytes = 8 * 1024 * 1024

export interface IndexContext {
  config: Config
  /** Shared by all walks of this thread: its calls do not overlap. */
  projection: Projection
  writer: Pick<Writer, 'addLarge'> & {
    /** `recycle` may be called once the rows are copied. */
    add(repo: FinishedRepo, recycle: () => void): Promise<WriteOutcome>
  }
  resolver: Resolver
  budget: MemoryBudget
  rowBuffers: RowBuffers
  /** Of this repo among those of its thread. */
  pace: RepoPace
  /** The repo's CAR, decoded, as it arrives. */
  fetchCar: (claim: ClaimedRepo) => AsyncIterable<Uint8Array>
  /** A copy for the archive, which takes its place there when the walk has verified all of it. */
  archive?: ((did: string) => ArchiveCopy) | undefined
  repoMemoryBytes: number
  /** Rows past this go to Postgres while the repo is walked, in a transaction of its own. */
  largeRepoBytes: number
  spillDir: string
  /** The disk that all walks share. */
  spills: MemoryBudget
  verify: 'full' | 'structure'
  signal: AbortSignal
}

export interface IndexedRepo {
  /** Settles when the rows are committed, or dropped because the claim is no longer ours. */
  written: Promise<WriteOutcome>
  rows: number
  rejected: number
  spilled: boolean
}

/** Throws coded errors of `errors.ts` and `repo-stream`; nothing is written then. */
export async function indexRepo(claim: ClaimedRepo, context: IndexContext): Promise<IndexedRepo> {
  const first = await indexOnce(claim, context.projection, context)
  if (!('keepRaw' in first)) return first
  const second = await indexOnce(claim, createProjection(context.config, first), context)
  if (!('keepRaw' in second)) return second
  throw new IndexerError('RepoUnstable', `the blocks of ${claim.did} changed from one fetch to the next`)
}

/** A class, because a literal with a computed name is made by V8's runtime: 3 µs a repo. */
class Walk implements AsyncDisposable {
  readonly commit: Commit
  readonly driver: Driver
  readonly spilled: boolean

  constructor({ commit, driver }: { commit: Commit; driver: Driver }, spilled: boolean) {
    this.commit = commit
    this.driver = driver
    this.spilled = spilled
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.driver.close()
  }
}

async function indexOnce(
  claim: ClaimedRepo,
  projection: Projection,
  context: IndexContext,
): Promise<IndexedRepo | { keepRaw: KeepRaw }> {
  using copy = context.archive?.(claim.did)
  await using walk = await openWalk(claim, { projection, copy }, context)
  await checkCommit(walk.commit, claim, context)
  const rows = new RepoRows(claim, context)
  let written: Promise<WriteOutcome> | undefined
  try {
    const large = await walkUntil(walk, projection, rows, context.largeRepoBytes)
    if (large) {
      const totals = () => rows.totals(walk.commit)
      const atEnd = () => copy?.keep(walk.commit)
      const chunks = walkOn(walk, projection, { rows, pace: context.pace, atEnd })
      const outcome = await context.writer.addLarge(claim, chunks, totals)
      return { written: Promise.resolve(outcome), ...counts(walk, rows) }
    }
    if (rows.keepRaw !== undefined) return { keepRaw: rows.keepRaw }
    await copy?.keep(walk.commit)
    written = handOver(rows, walk.commit, context)
    return { written, ...counts(walk, rows) }
  } catch (error) {
    if (error instanceof LyingBlocks) return { keepRaw: error.keepRaw }
    throw error
  } finally {
    if (!written) rows.release()
  }
}

/** A function of its own, so that what waits for the commit keeps a number alive and not the walk. */
function handOver(rows: RepoRows, commit: Commit, { writer, budget }: IndexContext): Promise<WriteOutcome> {
  const repo = rows.finish(commit)
  const heldBytes = rows.takeHeld()
  const written = writer.add(repo, rows.recycle).finally(() => budget.give(heldBytes))
  written.catch(() => undefined) // whoever gets it handles it; until then the walk is being closed
  return written
}

function counts(walk: Walk, rows: RepoRows): { rows: number; rejected: number; spilled: boolean } {
  return { rows: rows.rows, rejected: rows.rejected, spilled: walk.spilled }
}

async function openWalk(
  claim: ClaimedRepo,
  { projection, copy }: { projection: Projection; copy: ArchiveCopy | undefined },
  context: IndexContext,
): Promise<Walk> {
  const fetched = context.fetchCar(claim)
  const car = await loadCar(context.pace.chunks(copy?.through(fetched) ?? fetched), {
    memoryLimitBytes: context.repoMemoryBytes,
    budget: context.budget,
    process: (block, digest, place) => projection.process(block, digest, place),
    preorder: 'buffer',
    freeOnClose: true,
    signal: context.signal,
  })
  if (car.kind === 'memory') return new Walk(car, false)
  const openStore = () =>
    openDiskStore(spillPath(context.spillDir), {
      cacheBytes: diskCacheBytes,
      maxStoredBytes: context.spills.limitBytes * maxShareOfSpills,
      budget: context.spills,
    })
  return new Walk(await car.finishLoading(openStore), true)
}

/** The commit must be of this account, of no time to come, and signed with the account's key, which may have changed. */
async function checkCommit(commit: Commit, claim: ClaimedRepo, context: IndexContext): Promise<void> {
  const details = { did: claim.did, rev: commit.rev }
  if (commit.did !== claim.did) {
    throw new IndexerError('WrongRepo', `the host sent the repo of ${commit.did} for ${claim.did}`, { details })
  }
  if (revTimeMs(commit.rev) > Date.now() + maxRevAheadMs) {
    throw new IndexerError('RevInFuture', `the rev ${commit.rev} lies in the future`, { details })
  }
  if (context.verify === 'structure' || (await isSigned(commit, claim, context))) return
  throw new IndexerError('BadSignature', `the commit ${commit.rev} is not signed with the key of ${claim.did}`, {
    details,
  })
}

/** By the key that we know; if not, by the one that the DID document has now. */
async function isSigned(commit: Commit, { did, signingKey }: ClaimedRepo, context: IndexContext): Promise<boolean> {
  if (signingKey !== null && (await verifyCommit(commit, signingKey, { verifySignature }))) return true
  const identity = await context.resolver.resolve(did, { refresh: signingKey !== null, signal: context.signal })
  return identity.signingKey !== signingKey && (await verifyCommit(commit, identity.signingKey, { verifySignature }))
}

function revTimeMs(rev: string): number {
  return (microsFromTid(rev) ?? Number.POSITIVE_INFINITY) / 1000
}

/** Walks to the end (false), or until the rows are too many to be kept (true). */
async function walkUntil(walk: Walk, projection: Projection, rows: RepoRows, largeRepoBytes: number): Promise<boolean> {
  for (;;) {
    const entries = await walk.driver.nextChunk(entriesPerChunk)
    if (entries === undefined) return false
    for (const entry of entries) projection.settle(entry, rows)
    if (!rows.reserve() || rows.bytes > largeRepoBytes) return true
  }
}

/** The rows that are held, then those of the rest of the walk. Ends with `LyingBlocks` if any block needs a second walk. */
async function* walkOn(
  walk: Walk,
  projection: Projection,
  { rows, pace, atEnd }: { rows: RepoRows; pace: RepoPace; atEnd: () => Promise<void> | undefined },
): AsyncGenerator<RowChunk> {
  for (;;) {
    if (rows.keepRaw === undefined && rows.bytes >= sentBytes) yield* rows.drain()
    const startedMs = performance.now()
    const entries = await walk.driver.nextChunk(entriesPerChunk)
    if (entries === undefined) break
    for (const entry of entries) projection.settle(entry, rows)
    if (rows.keepRaw !== undefined) rows.drop()
    await pace.worked(performance.now() - startedMs)
  }
  if (rows.keepRaw !== undefined) throw new LyingBlocks(rows.keepRaw)
  yield* rows.drain()
  await atEnd()
}

/** Undoes the transaction of a large repo that must be walked again. */
class LyingBlocks extends Error {
  readonly keepRaw: KeepRaw

  constructor(keepRaw: KeepRaw) {
    super('blocks whose $type is not their collection')
    this.keepRaw = keepRaw
  }
}
