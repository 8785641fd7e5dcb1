// Builds the secondary indexes that the config wants and the database lacks: after the first load, or by `indexer finish`.
// Writers go on meanwhile (`concurrently`). The surprise: an index that a kill left half built is there but invalid; it is
// dropped and built again, and that is all that resuming takes. Tables are vacuumed first: a scan that finds fresh rows marks them, so
// each page would be logged and written for the build and once more for the vacuum.
import type { Pool, PoolClient } from 'pg'
import type { Column, ColumnType, Config } from './config.ts'
import { CounterChanges, counterWriter } from './counters.ts'
import { sqlState } from './database-errors.ts'
import type { OddityCode } from './project/oddity.ts'
import { type IndexStatement, indexStatements } from './schema-indexes.ts'
import { loadSettings, quoteName, wholeValue } from './schema-sql.ts'

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

/** Throws what Postgres says, or the signal's reason. */
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
 * A vacuum goes round in 2 MB of buffers, and where rows are all new each round waits until the WAL of the pages that it leaves is on the
 * disk: half of its time (bench:size). Postgres takes an eighth of its buffers at most. Servers before 16 have no such setting.
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
  const names = new Set([...missing.map((index) => index.rowsName), ...loaded.rows.map(({ name }) => name)])
  const tables = [...names].map((name) => `${schema}.${quoteName(name)}`)
  for (const [i, name] of tables.entries()) {
    await watched(build, { work: 'vacuum', name, number: i + 1, of: tables.length }, `vacuum (freeze) ${name}`)
  }
  for (const [i, index] of missing.entries()) {
    await buildOne(build, index, { work: 'index', name: index.name, number: i + 1, of: missing.length })
  }
  for (const table of tables) await endLoad(build, table)
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
  const { client, schema, result } = build
  const startedAt = performance.now()
  try {
    await watched(build, place, index.statement)
  } catch (error) {
    if (sqlState(error) !== entryTooLong || isAgain) throw error
    await client.query(`drop index concurrently if exists ${schema}.${quoteName(index.name)}`)
    await shortenFor(build, index)
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

/** An index that came later than its rows: text that it cannot hold goes where the projection would have put it. */
async function shortenFor({ client, schema, options }: Build, index: IndexStatement): Promise<void> {
  const table = options.config.tables.find((one) => one.rowsName === index.rowsName)
  for (const column of table?.columns ?? []) {
    if (!index.columns.includes(column.name) || !isPlainText(column.type) || table?.generic !== false) continue
    const values = [column.maxBytes, table.collections[0], column.name, 'TextTooLongForIndex' satisfies OddityCode]
    await client.query('begin')
    const { rowCount } = await client.query(shorten(schema, index.rowsName, column), values)
    const changes = new CounterChanges()
    changes.add('oddities', rowCount ?? 0)
    await changes.write(client, counterWriter(0, 0))
    await client.query('commit')
  }
}

function isPlainText(type: ColumnType): boolean {
  return type === 'text' || type === 'at-uri' || type === 'did'
}

/** The original as CBOR: a text head with four bytes of length, then the text. */
function shorten(schema: string, rowsName: string, column: Column): string {
  const name = quoteName(column.name)
  const value = wholeValue(schema, column, '')
  return `
  with long as (
    select repo, rkey, ${value} as original from ${schema}.${quoteName(rowsName)} where octet_length(${value}) > $1 for update
  ), shortened as (
    update ${schema}.${quoteName(rowsName)} t set ${name} = null from long l where t.repo = l.repo and t.rkey = l.rkey
  )
  insert into ${schema}.oddity_rows (repo, collection, rkey, field, code, original)
  select repo, $2, rkey, $3, $4, '\\x7a'::bytea || int4send(octet_length(original)) || convert_to(original, 'UTF8') from long
  on conflict do nothing`
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
