// Builds the secondary indexes that the config wants and the database lacks: after the first load, or by `indexer finish`.
// Writers go on meanwhile (`concurrently`). An index that a kill left half built is invalid: it is dropped and built again, which is all
// that resuming takes. The surprise: tables are vacuumed first. A build's scan marks the fresh rows that it finds, so each page would be
// logged and written for the build and once more for the vacuum.
import { DatabaseError, type Pool, type PoolClient } from 'pg'
import type { Config } from './config.ts'
import { databaseTrouble, sqlState } from './database-errors.ts'
import { IndexerError } from './errors.ts'
import { shortenFor } from './finish-shorten.ts'
import { type IndexStatement, indexStatements } from './schema-indexes.ts'
import { loadSettings, quoteName } from './schema-sql.ts'

export interface FinishOptions {
  config: Config
  /** Aborting cancels the build that is under way; the next run starts it anew. */
  signal?: AbortSignal
  onProgress?: (progress: FinishProgress) => void
  /** Memory for one build, as Postgres writes it. */
  maintenanceMemory?: string
}

export interface FinishProgress {
  work: 'vacuum' | 'index'
  /** The table or the index, and how many there are in all. */
  name: string
  number: number
  of: number
  /** 0 to 1 of the phase that takes longest, reading the table; undefined in others. */
  fraction: number | undefined
  phase: string
}

export interface FinishResult {
  /** Another process is at it; nothing was done. */
  busy: boolean
  built: { name: string; ms: number; bytes: number }[]
  /** Left half built by a kill, or made for values in another form, and dropped. */
  dropped: string[]
  /** Were there before. */
  present: string[]
}

/** Throws `IndexRefused` when all else is done, what Postgres says, or the signal's reason. */
export async function finish(database: { pool: Pool; schema: string }, options: FinishOptions): Promise<FinishResult> {
  const { pool, schema } = database
  const result: FinishResult = { busy: false, built: [], dropped: [], present: [] }
  const client = await pool.connect()
  try {
    const { rows } = await client.query<{ ours: boolean }>(tryLock, [finishLock, schema])
    if (rows[0]?.ours !== true) return { ...result, busy: true }
    await client.query(raiseSettings, [options.maintenanceMemory ?? '256MB', parallelWorkers])
    await client.query(widenRing)
    await client.query(noticeKills).catch(() => undefined) // a server on Windows cannot
    await buildMissing({ client, pool, schema, options, result })
    return result
  } finally {
    await letGo(client, schema)
  }
}

/** A connection that cannot be asked any more takes its lock along. */
async function letGo(client: PoolClient, schema: string): Promise<void> {
  try {
    await client.query('rollback')
    await client.query('reset maintenance_work_mem; reset max_parallel_maintenance_workers')
    await client.query('reset client_connection_check_interval')
    await client.query(narrowRing)
    await client.query('select pg_advisory_unlock($1, hashtext($2))', [finishLock, schema])
    client.release()
  } catch {
    client.release(true)
  }
}

interface Build {
  client: PoolClient
  pool: Pool
  schema: string
  options: FinishOptions
  result: FinishResult
}

export const finishLock = 7_346_114 // any number: one process builds, whatever the others think
const tryLock = 'select pg_try_advisory_lock($1, hashtext($2)) as ours'
/** Else the server builds on for a process that is dead, and its lock keeps others from building. */
const noticeKills = `set client_connection_check_interval = '1s'`
/** Beside the one that leads; Postgres takes fewer for a small table, and never more than its `max_parallel_workers`. */
const parallelWorkers = 4
// What the server has is kept where it is more. 32 MB a worker is what Postgres wants before it takes one.
const raiseSettings = `
  select set_config('maintenance_work_mem',
                    greatest(pg_size_bytes($1), pg_size_bytes(current_setting('maintenance_work_mem'))) / 1024 || 'kB', false),
         set_config('max_parallel_maintenance_workers',
                    greatest($2::int, current_setting('max_parallel_maintenance_workers')::int)::text, false)`
/**
 * A vacuum goes round in 2 MB of buffers, and where rows are all new it waits each time until the WAL of the pages that it leaves is on
 * the disk: 1,600 times for 10 million rows (bench:size). Postgres takes an eighth of its buffers at most; before 16 it cannot be set.
 */
const ring = (value: string) => `
  select set_config(name, ${value}, false) from pg_settings where name = 'vacuum_buffer_usage_limit'`
const widenRing = ring(`'128MB'`)
const narrowRing = ring('reset_val')
const pollMs = 500
const queryCanceled = '57014'
const entryTooLong = '54000'

async function buildMissing(build: Build): Promise<void> {
  const { client, schema, options, result } = build
  const there = await readIndexes(client, schema)
  const wanted = indexStatements(options.config, schema)
  const isThere = ({ name, isExpression }: IndexStatement) =>
    there.get(name) === (isExpression ? 'expression' : 'columns')
  const missing = wanted.filter((index) => !isThere(index))
  result.present.push(...wanted.filter(isThere).map((index) => index.name))
  for (const { name } of missing) {
    if (!there.has(name)) continue
    await client.query(`drop index concurrently if exists ${schema}.${quoteName(name)}`)
    result.dropped.push(name)
  }
  const loaded = await client.query<{ name: string }>(selectLoaded, [schema, Object.keys(loadSettings)[0]])
  const fresh = new Set(loaded.rows.map(({ name }) => name))
  const tables = [...new Set([...missing.map((index) => index.rowsName), ...fresh])]
  for (const [i, name] of tables.entries()) {
    const statement = `vacuum (freeze ${fresh.has(name)}) ${schema}.${quoteName(name)}` // their pages are written anyway
    await watched(build, { work: 'vacuum', name, number: i + 1, of: tables.length }, statement)
  }
  const refused: Refused[] = []
  for (const [i, index] of missing.entries()) {
    try {
      await buildOne(build, index, { work: 'index', name: index.name, number: i + 1, of: missing.length })
    } catch (error) {
      refused.push({ name: index.name, error: ofIndexAlone(error) })
      await client.query(`drop index concurrently if exists ${schema}.${quoteName(index.name)}`)
    }
  }
  for (const name of tables) await endLoad(build, `${schema}.${quoteName(name)}`)
  if (refused.length > 0) throw indexRefused(refused)
}

interface Refused {
  name: string
  error: Error
}

/** The others can be built all the same. Throws what would meet them, too. */
function ofIndexAlone(error: unknown): Error {
  const trouble = databaseTrouble(error)
  if (error instanceof DatabaseError && (trouble === undefined || trouble === 'row')) return error
  throw error
}

function indexRefused(refused: readonly Refused[]): IndexerError {
  const reasons = refused.map(({ name, error }) => `${name} (${error.message})`).join(', ')
  const message = `Postgres does not build ${reasons}; all others are there`
  return new IndexerError('IndexRefused', message, { cause: refused[0]?.error })
}

/** Statistics, also of what the indexes are on, and from then on autovacuum's care. */
async function endLoad({ client, options: { signal } }: Build, table: string): Promise<void> {
  signal?.throwIfAborted()
  await client.query(`analyze ${table}`)
  await client.query(`alter table ${table} reset (${Object.keys(loadSettings).join(', ')})`)
}

const selectLoaded = `
  select c.relname as name from pg_class c join pg_namespace n on n.oid = c.relnamespace, unnest(c.reloptions) as option
  where n.nspname = $1 and c.relkind = 'r' and starts_with(option, $2 || '=')`

/** By name: what is indexed, and null for one that is not usable. */
async function readIndexes(client: PoolClient, schema: string): Promise<Map<string, string | null>> {
  const { rows } = await client.query<{ name: string; indexed: string | null }>(listIndexes, [schema])
  return new Map(rows.map((row) => [row.name, row.indexed]))
}

const listIndexes = `
  select c.relname as name, case when not (i.indisvalid and i.indisready) then null
    when i.indexprs is null then 'columns' else 'expression' end as indexed
  from pg_index i
  join pg_class c on c.oid = i.indexrelid
  join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = $1`

async function buildOne(build: Build, index: IndexStatement, place: Place, isAgain = false): Promise<void> {
  const { client, schema, options, result } = build
  const startedAt = performance.now()
  try {
    await watched(build, place, index.statement)
  } catch (error) {
    if (sqlState(error) !== entryTooLong || isAgain) throw error
    await client.query(`drop index concurrently if exists ${schema}.${quoteName(index.name)}`)
    await shortenFor(client, { schema, config: options.config, index })
    return buildOne(build, index, place, true)
  }
  const { rows } = await client.query<{ bytes: string }>('select pg_relation_size($1::regclass)::text as bytes', [
    `${schema}.${quoteName(index.name)}`,
  ])
  result.built.push({ name: index.name, ms: Math.round(performance.now() - startedAt), bytes: Number(rows[0]?.bytes) })
}

type Place = Pick<FinishProgress, 'work' | 'name' | 'number' | 'of'>

/** Runs what takes long: says how far it is, and is cancelled by the signal. */
async function watched({ client, pool, options }: Build, place: Place, statement: string): Promise<void> {
  options.signal?.throwIfAborted()
  const { rows: self } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  const pid = self[0]?.pid ?? 0
  const poll = setInterval(() => {
    reportProgress(pool, pid, place, options).catch(() => undefined) // a look that fails is looked again
  }, pollMs)
  const cancel = () => void pool.query('select pg_cancel_backend($1)', [pid]).catch(() => undefined)
  options.signal?.addEventListener('abort', cancel, { once: true })
  try {
    await client.query(statement)
  } catch (error) {
    if (sqlState(error) === queryCanceled) options.signal?.throwIfAborted()
    throw error
  } finally {
    clearInterval(poll)
    options.signal?.removeEventListener('abort', cancel)
  }
}

async function reportProgress(pool: Pool, pid: number, place: Place, options: FinishOptions): Promise<void> {
  if (options.onProgress === undefined) return
  const { rows } = await pool.query<{ phase: string; done: number; total: number }>(readProgress, [pid])
  const row = rows[0]
  if (row === undefined) return
  options.onProgress({ ...place, phase: row.phase, fraction: row.total > 0 ? row.done / row.total : undefined })
}

const readProgress = `
  select phase, greatest(blocks_done, tuples_done)::float8 as done,
    case when blocks_done >= tuples_done then blocks_total else tuples_total end::float8 as total
  from pg_stat_progress_create_index where pid = $1
  union all
  select phase, heap_blks_scanned::float8, heap_blks_total::float8 from pg_stat_progress_vacuum where pid = $1`
