// Fills the tables anew from the archive with the present config, beside the old ones, and swaps them in when they are complete.
// Input: a database that was crawled, a config, an archive; output: how many repos were reprojected, and what became of the others.
// Killed, it goes on where it was; it has the database for itself, readers notice nothing until the swap.
import { removeStaleSpills } from 'repo-stream'
import type { Config } from './config.ts'
import { type Database, migrate } from './database.ts'
import { ask, transact } from './database-transact.ts'
import { IndexerError } from './errors.ts'
import { type FinishProgress, finish } from './finish.ts'
import { openIndexPool } from './index-pool.ts'
import { aloneLease, otherProcesses } from './leases.ts'
import type { Log } from './log.ts'
import { MemoryBudget } from './memory-budget.ts'
import { describePlace } from './process-place.ts'
import { checkingHeads, type Filled, fillShadow, type Heads } from './reproject-fill.ts'
import { openShadow, type Shadow } from './reproject-shadow.ts'
import { swapShadow } from './reproject-swap.ts'
import { openBooksFor } from './schema.ts'
import type { AppliedTable } from './schema-changes.ts'
import { indexStatements } from './schema-indexes.ts'
import { tableName } from './schema-sql.ts'
import { openState, type State } from './state.ts'
import { version } from './version.ts'
import { limitsWithin, openWriter } from './write.ts'
import { prepareTables } from './write-tables.ts'

export interface ReprojectOptions {
  config: Config
  archive: string
  threads: number
  memoryBytes: number
  repoMemoryBytes: number
  largeRepoBytes: number
  spillDir: string
  spillLimitBytes: number
  log: Log
  signal: AbortSignal
  onFilled?: (filled: Filled, of: number) => void
  onIndex?: (progress: FinishProgress) => void
}

export interface Reprojected extends Filled {
  /** Of those that could not be: lack something that the new config wants, and are to be fetched again. */
  stale: number
}

/** Throws `DatabaseBusy` when another process works on the database, and what stops a run; what was filled in stays. */
export async function reproject(database: Database, options: ReprojectOptions): Promise<Reprojected> {
  const { config, signal } = options
  await refuseCitus(database)
  await migrate(database)
  const state = await openState(database, { log: options.log })
  try {
    await takeAll(database, state)
    const applied = await transact(database.pool, (client) => openBooksFor(client, database.schema, config))
    const filled = await fillBeside({ database, state, applied }, options)
    return { ...filled, stale: await swapShadow(database, { config, process: state.process, signal }) }
  } finally {
    await state.end()
  }
}

/** The tables of the shadow are not distributed. */
async function refuseCitus({ pool }: Database): Promise<void> {
  const { rowCount } = await ask(pool, `select from pg_extension where extname = 'citus'`)
  if (rowCount !== 0) throw new IndexerError('BadUsage', 'reproject does not work on Citus: start `run` in its place')
}

/** First we say that we want it alone, then we look whether we are: see `openState`. */
async function takeAll({ pool }: Database, state: State): Promise<void> {
  if (await state.takeLease(aloneLease)) {
    const [other] = await otherProcesses(pool, state.process)
    if (other === undefined) return
    await state.dropLease(aloneLease)
    throw new IndexerError(
      'DatabaseBusy',
      `another process works on this database (${describePlace(other)}): stop it, then start again`,
    )
  }
  throw new IndexerError('DatabaseBusy', 'another reproject works on this database: wait for its end')
}

async function fillBeside(filling: Omit<Filling, 'shadow'>, options: ReprojectOptions): Promise<Filled> {
  const { database } = filling
  await using shadow = await openShadow(database, options.config)
  const filled = await fill({ ...filling, shadow }, options)
  await refuseUseless(shadow)
  const { config, signal, onIndex } = options
  if (await hasIndexes(database, config)) {
    await finish(shadow.database, { config, signal, ...(onIndex ? { onProgress: onIndex } : {}) })
  }
  for (const table of config.tables) await ask(shadow.database.pool, `analyze ${tableName(table)}`)
  return filled
}

/** An archive that has no repo is the wrong one: what the swap would bring is empty columns. */
async function refuseUseless({ database: { pool, schema } }: Shadow): Promise<void> {
  const text = `select count(*)::int8 as repos, count(*) filter (where state = 'done')::int8 as done from repos where rev is not null`
  const { rows } = await ask<{ repos: number; done: number }>(pool, text)
  const [{ repos = 0, done = 0 } = {}] = rows
  if (repos === 0 || done > 0) return
  await ask(pool, `drop schema ${schema} cascade`)
  throw new IndexerError('ArchiveMissing', `the archive has none of the ${repos} repos: nothing was changed`)
}

interface Filling {
  database: Database
  shadow: Shadow
  state: State
  applied: ReadonlyMap<string, AppliedTable>
}

async function fill({ database, shadow, state, applied }: Filling, options: ReprojectOptions): Promise<Filled> {
  const { config, archive, threads, signal, spillDir } = options
  await removeStaleSpills(spillDir)
  const process = () => state.process
  const writer = openWriter({ database: shadow.database, config, process, limits: limitsWithin(options.memoryBytes) })
  const heads: Heads = new Map()
  const budget = new MemoryBudget(options.memoryBytes)
  const spills = new MemoryBudget(options.spillLimitBytes)
  await using pool = openIndexPool({
    threads,
    setup: {
      config,
      http: { version, contact: undefined, allowPrivateHosts: false, limits: {} }, // nobody is asked
      plcUrls: [],
      budget: { limitBytes: budget.limitBytes, shared: budget.shared },
      repoMemoryBytes: options.repoMemoryBytes,
      largeRepoBytes: options.largeRepoBytes,
      hugeBytes: Number.POSITIVE_INFINITY, // nobody waits for a host's slot
      spillDir,
      spills: { limitBytes: spills.limitBytes, shared: spills.shared },
      verify: 'structure', // the signature was checked before the CAR was kept; that it is that CAR, the commit's CID says
      archive: { dir: archive, use: 'read' },
    },
    writer: checkingHeads(writer, heads),
    signal,
    onSeen: () => undefined,
    onFetched: () => undefined,
  })
  try {
    return await fillShadow({
      database: shadow.database,
      live: database.schema,
      applied,
      config,
      tables: prepareTables(config),
      process,
      archive,
      pool,
      heads,
      concurrency: threads * reposPerThread,
      signal,
      onProgress: (filled) => options.onFilled?.(filled, shadow.left),
    })
  } finally {
    await writer.close()
  }
}

const reposPerThread = 16

/** Before the end of a first crawl there are none, and they would slow the rest of it down. */
async function hasIndexes({ pool, schema }: Database, config: Config): Promise<boolean> {
  const names = indexStatements(config, schema).map(({ name }) => name)
  const text = 'select from pg_indexes where schemaname = $1 and indexname = any($2) limit 1'
  const { rowCount } = await ask(pool, { text, values: [schema, names] })
  return rowCount !== 0
}
