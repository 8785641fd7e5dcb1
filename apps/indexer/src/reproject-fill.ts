// Fills the shadow from the archive: every repo that is left there is read, verified, walked and written by the threads and the
// writer that `run` has, with the archive in the place of the hosts. What was committed is not done again after a kill.
import { readArchivedHead } from './archive-read.ts'
import type { Database } from './database.ts'
import { ask } from './database-transact.ts'
import { errorClass, IndexerError } from './errors.ts'
import type { IndexPool } from './index-pool.ts'
import { type CarryContext, carryRepos } from './reproject-carry.ts'
import { shadowClaim } from './reproject-shadow.ts'
import type { ClaimedRepo } from './state.ts'
import type { Writer } from './write.ts'

export interface FillContext extends CarryContext {
  archive: string
  pool: Pick<IndexPool, 'indexRepo'>
  /** Whose heads are checked before they are written: see `checkingHeads`. */
  heads: Heads
  /** Repos that are walked at the same time. */
  concurrency: number
  signal: AbortSignal
  onProgress: (filled: Filled) => void
}

export interface Filled {
  /** From the archive. */
  reprojected: number
  /** Taken over as they are, by the code that says why. */
  carried: Map<string, number>
}

/** The commits that the stored rows are of, by repo: what a walk must find. */
export type Heads = Map<number, Buffer>

interface LeftRepo {
  id: number
  did: string
  /** What the shadow has of it. */
  rev: string | null
  /** What readers see. */
  storedRev: string | null
  head: Buffer | null
}

const pageRepos = 500
const carriedAtOnce = 100
/** Repos whose transaction is still to come. */
const maxUnwritten = 2000
/** A repo whose write met a database that went away. */
const maxAttempts = 3

export async function fillShadow(context: FillContext): Promise<Filled> {
  const filled: Filled = { reprojected: 0, carried: new Map() }
  const [walking, writing] = [new Set<Promise<unknown>>(), new Set<Promise<unknown>>()]
  let failure: { error: unknown } | undefined
  const carried: number[] = []
  const track = (set: Set<Promise<unknown>>, work: Promise<unknown>): void => {
    const tracked: Promise<unknown> = work
      .catch((error: unknown) => {
        failure ??= { error }
      })
      .finally(() => set.delete(tracked))
    set.add(tracked)
  }
  const carry = (id: number, code: string | undefined): void => {
    carried.push(id)
    if (code !== undefined) filled.carried.set(code, (filled.carried.get(code) ?? 0) + 1)
  }
  const finishOne = async (repo: LeftRepo, attempt: number): Promise<void> => {
    const { written } = await walkOne(repo, context)
    track(writing, settleOne(repo, written, attempt))
  }
  const attemptOne = async (repo: LeftRepo, attempt = 1): Promise<void> => {
    try {
      if (repo.storedRev === null) carry(repo.id, undefined)
      else await finishOne(repo, attempt)
    } catch (error) {
      await judge(repo, error, attempt)
    }
  }
  const settleOne = async (repo: LeftRepo, written: Promise<unknown>, attempt: number): Promise<void> => {
    try {
      if ((await written) !== 'committed') throw busy(repo)
      context.heads.delete(repo.id)
      filled.reprojected++
      context.onProgress(filled)
    } catch (error) {
      await judge(repo, error, attempt)
    }
  }
  const judge = async (repo: LeftRepo, error: unknown, attempt: number): Promise<void> => {
    const kind = errorClass(error)
    if (context.signal.aborted || kind === undefined || kind === 'stop-run') throw error
    const { code } = error as { code: string }
    if (code === 'WriteInterrupted' && attempt < maxAttempts) return await attemptOne(repo, attempt + 1)
    context.heads.delete(repo.id)
    carry(repo.id, code)
    context.onProgress(filled)
  }
  const flush = async (): Promise<void> => await carryRepos(carried.splice(0), context)

  try {
    for await (const repo of readLeft(context)) {
      context.signal.throwIfAborted()
      if (failure) throw failure.error
      track(walking, attemptOne(repo))
      if (carried.length >= carriedAtOnce) await flush()
      while (walking.size >= context.concurrency) await Promise.race(walking)
      while (writing.size >= maxUnwritten) await Promise.race(writing)
    }
  } finally {
    while (walking.size + writing.size > 0) await Promise.allSettled([...walking, ...writing])
  }
  if (failure) throw failure.error
  await flush()
  return filled
}

/** The archive's word for it first: a CAR of another commit is not worth a walk. */
async function walkOne({ id, did, rev, storedRev, head }: LeftRepo, context: FillContext) {
  const car = await readArchivedHead({ dir: context.archive, did })
  if (head === null || car.head !== head.toString('hex')) {
    throw new IndexerError(
      'ArchiveOutdated',
      `the archived CAR of ${did} is of rev ${car.rev}, its rows of ${storedRev}`,
    )
  }
  context.heads.set(id, head)
  const claim = { id, did, rev, claim: shadowClaim, hostId: 0, host: '', signingKey: null, handle: null, attempts: 0 }
  return await context.pool.indexRepo(claim)
}

/** In the order of ids, in pages. */
async function* readLeft({ database, live }: { database: Database; live: string }): AsyncGenerator<LeftRepo> {
  for (let after = 0; ; ) {
    const { rows } = await ask<LeftRepo>(database.pool, { text: selectLeft(live), values: [after, pageRepos] })
    yield* rows
    const last = rows.at(-1)
    if (last === undefined) return
    after = last.id
  }
}

function selectLeft(live: string): string {
  return `
  select s.id, s.did, s.rev, l.rev as "storedRev", l.head
  from repos s join ${live}.repos l on l.id = s.id
  where s.state = 'working' and s.id > $1 order by s.id limit $2`
}

function busy({ did }: LeftRepo): IndexerError {
  return new IndexerError('DatabaseBusy', `another process has written ${did} into the shadow`)
}

/** The writer, but for a repo that turns out to be of another commit than the rows it is to replace. */
export function checkingHeads(writer: Writer, heads: Heads): Pick<Writer, 'add' | 'addLarge'> {
  const check = ({ id, did }: ClaimedRepo, found: Uint8Array, rev: string): void => {
    if (heads.get(id)?.equals(found) === true) return
    throw new IndexerError('ArchiveOutdated', `the archived CAR of ${did} is of rev ${rev}, which its rows are not`)
  }
  return {
    async add(repo) {
      check(repo.claim, repo.head, repo.rev)
      return await writer.add(repo)
    },
    addLarge: (claim, chunks, totals) =>
      writer.addLarge(claim, chunks, () => {
        const all = totals()
        check(claim, all.head, all.rev)
        return all
      }),
  }
}
