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
  const filler = new Filler(context)
  try {
    for await (const repo of readLeft(context)) await filler.take(repo)
  } finally {
    await filler.settle()
  }
  return await filler.end()
}

class Filler {
  readonly #context: FillContext
  readonly #filled: Filled = { reprojected: 0, carried: new Map() }
  readonly #walking = new Set<Promise<unknown>>()
  readonly #writing = new Set<Promise<unknown>>()
  #carried: number[] = []
  #failure: { error: unknown } | undefined

  constructor(context: FillContext) {
    this.#context = context
  }

  /** Begins with a repo when there is room for it; throws what another one has ended with. */
  async take(repo: LeftRepo): Promise<void> {
    while (this.#walking.size >= this.#context.concurrency) await Promise.race(this.#walking)
    while (this.#writing.size >= maxUnwritten) await Promise.race(this.#writing)
    if (this.#carried.length >= carriedAtOnce) await this.#flush()
    this.#context.signal.throwIfAborted()
    if (this.#failure) throw this.#failure.error
    this.#track(this.#walking, this.#fill(repo, 1))
  }

  /** Waits for everything that was begun. */
  async settle(): Promise<void> {
    while (this.#walking.size + this.#writing.size > 0) await Promise.allSettled([...this.#walking, ...this.#writing])
  }

  async end(): Promise<Filled> {
    if (this.#failure) throw this.#failure.error
    await this.#flush()
    return this.#filled
  }

  async #fill(repo: LeftRepo, attempt: number): Promise<void> {
    try {
      if (repo.storedRev === null) return void this.#carried.push(repo.id) // its rows were removed since the shadow was begun
      const { written } = await walkOne(repo, this.#context)
      this.#track(this.#writing, this.#finish(repo, { written, attempt }))
    } catch (error) {
      await this.#judge(repo, { error, attempt })
    }
  }

  async #finish(repo: LeftRepo, { written, attempt }: { written: Promise<unknown>; attempt: number }): Promise<void> {
    try {
      if ((await written) !== 'committed') throw busy(repo)
      this.#context.heads.delete(repo.id)
      this.#filled.reprojected++
      this.#context.onProgress(this.#filled)
    } catch (error) {
      await this.#judge(repo, { error, attempt })
    }
  }

  /** What is wrong with one repo leaves it as it is; all else ends the fill. */
  async #judge(repo: LeftRepo, { error, attempt }: { error: unknown; attempt: number }): Promise<void> {
    const kind = errorClass(error)
    if (this.#context.signal.aborted || kind === undefined || kind === 'stop-run') throw error
    const { code } = error as { code: string }
    if (code === 'WriteInterrupted' && attempt < maxAttempts) return await this.#fill(repo, attempt + 1)
    this.#context.heads.delete(repo.id)
    this.#carried.push(repo.id)
    const { carried } = this.#filled
    carried.set(code, (carried.get(code) ?? 0) + 1)
    this.#context.onProgress(this.#filled)
  }

  async #flush(): Promise<void> {
    await carryRepos(this.#carried.splice(0), this.#context)
  }

  #track(set: Set<Promise<unknown>>, work: Promise<unknown>): void {
    const tracked: Promise<unknown> = work
      .catch((error: unknown) => {
        this.#failure ??= { error }
      })
      .finally(() => set.delete(tracked))
    set.add(tracked)
  }
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
