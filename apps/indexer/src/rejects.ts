// What could not be stored: a summary by code and collection, and another try for rejected records after a fix.
// A replay projects the bytes that `rejects` kept; a record that has become a row leaves `rejects` in the same transaction.
import type { PoolClient } from 'pg'
import { type Entry, entryOf } from 'repo-stream'
import type { Config } from './config.ts'
import { copyIn } from './copy.ts'
import { CounterChanges, counterWriter } from './counters.ts'
import type { Database } from './database.ts'
import { transact } from './database-transact.ts'
import { createProjection, type Projection, type ProjectionSink } from './project/projection.ts'
import { RowBuffer } from './row-buffer.ts'
import type { Oddity } from './write.ts'
import { lock } from './write-fence.ts'
import { addNotKeptOf, copyOdditiesOf, OddityAllowance } from './write-rejects.ts'
import { prepareTables, type WriteTable } from './write-tables.ts'

export interface RejectSummary {
  kind: 'reject' | 'oddity'
  code: string
  collection: string
  count: number
  /** AT-URI of one of them. */
  example: string
}

/** The most frequent first. Reads both tables whole. */
export async function summarizeRejects(database: Database): Promise<RejectSummary[]> {
  const { rows } = await database.pool.query<RejectSummary>(summary)
  return rows
}

const summary = `
  select 'reject' as kind, code, collection, count(*)::int8 as count, min(uri) as example from rejects group by code, collection
  union all
  select 'oddity', code, collection, count(*)::int8, min(uri) from oddities group by code, collection
  order by count desc, kind, code, collection`

export interface ReplayOptions {
  config: Config
  /** Whose rows of `counters` are changed. */
  process: number
  /** Only rejects of these. */
  code?: string | undefined
  collection?: string | undefined
  signal?: AbortSignal
  onProgress?: (soFar: ReplayResult) => void
}

export interface ReplayResult {
  /** Rows now. */
  stored: number
  /** Rejected again. */
  rejected: number
  /** Of a collection that the config leaves out, or refused by Postgres (their bytes are no record): only a new fetch helps. */
  left: number
}

/** One transaction for a few hundred repos; stopped, it goes on with those that are left. */
export async function replayRejects(database: Database, options: ReplayOptions): Promise<ReplayResult> {
  const result: ReplayResult = { stored: 0, rejected: 0, left: 0 }
  const projection = createProjection(options.config)
  const tables = prepareTables(options.config)
  for (let after = 0; ; ) {
    options.signal?.throwIfAborted()
    const { rows } = await database.pool.query<{ repo: number }>(nextRepos, [after, options.code, options.collection])
    const last = rows.at(-1)
    if (last === undefined) return result
    const repos = rows.map((row) => row.repo)
    const step = await transact(database.pool, (client) => replayRepos({ client, projection, tables, options }, repos))
    result.stored += step.stored
    result.rejected += step.rejected
    result.left += step.left
    options.onProgress?.(result)
    after = last.repo
  }
}

interface Replay {
  client: PoolClient
  projection: Projection
  tables: ReadonlyMap<number, WriteTable>
  options: ReplayOptions
}

interface RejectRow {
  repo: number
  collection: string
  rkey: string
  cid: Uint8Array
  code: string
  bytes: Uint8Array
}

const reposAtOnce = 200
/** Its bytes are those of a row, not of a record. */
const refusedByPostgres = 'RowRefused'
const matching = '($2::text is null or code = $2) and ($3::text is null or collection = $3)'
const nextRepos = `select distinct repo from reject_rows where repo > $1 and ${matching} order by repo limit ${reposAtOnce}`
const rejectsAtOnce = 500
/** A block may have 2 MiB. The first row of a page may be larger than the page. */
const rejectBytesAtOnce = 16 * 1024 * 1024
/** One page of them, in the order of the primary key, whose index it walks; lengths are known without reading the bytes. */
const theirRejects = `
  select repo, collection, rkey, cid, code, bytes from (
    select *, row_number() over page as place, sum(octet_length(bytes)) over page as total from reject_rows
    where repo = any($1) and ${matching} and (repo, collection, rkey) > ($4, $5, $6)
    window page as (order by repo, collection, rkey rows unbounded preceding)
    order by repo, collection, rkey limit ${rejectsAtOnce}
  ) t
  where place = 1 or total <= ${rejectBytesAtOnce} order by repo, collection, rkey`
const removeRejects = `
  delete from reject_rows t using unnest($1::int8[], $2::text[], $3::text[]) as v (repo, collection, rkey)
  where (t.repo, t.collection, t.rkey) = (v.repo, v.collection, v.rkey)`
const countRepos = `
  update repos r set records = records + v.stored, rejected = rejected - v.stored
  from (select repo, count(*)::int as stored from unnest($1::int8[]) repo group by repo) v where r.id = v.repo`

/** Under the lock of the repos, like every write: a fetch that is under way meanwhile replaces what is stored here. */
async function replayRepos(replay: Replay, repos: readonly number[]): Promise<ReplayResult> {
  const { client, options } = replay
  await lock(client, repos)
  const result: ReplayResult = { stored: 0, rejected: 0, left: 0 }
  const allowances = new Map(repos.map((id) => [id, new OddityAllowance()]))
  for await (const rows of rejectPages(client, repos, options)) {
    const { stored, rejected } = await replayPage(replay, { rows, allowances })
    result.stored += stored
    result.rejected += rejected
    result.left += rows.length - stored - rejected
  }
  const changes = new CounterChanges()
  for (const [id, allowance] of allowances) changes.add('oddities', await addNotKeptOf(client, id, allowance))
  await changes.write(client, counterWriter(options.process, 0))
  return result
}

/** What a replay holds in memory at a time; the rows of a page may be gone when the next is asked for. */
export async function* rejectPages(
  client: PoolClient,
  repos: readonly number[],
  { code, collection }: Pick<ReplayOptions, 'code' | 'collection'>,
): AsyncGenerator<RejectRow[]> {
  for (let after: unknown[] = [0, '', '']; ; ) {
    const { rows } = await client.query<RejectRow>(theirRejects, [repos, code, collection, ...after])
    const last = rows.at(-1)
    if (last === undefined) return
    yield rows
    after = [last.repo, last.collection, last.rkey]
  }
}

interface Page {
  rows: readonly RejectRow[]
  /** By repo: its rejects may fill many pages. */
  allowances: ReadonlyMap<number, OddityAllowance>
}

async function replayPage(replay: Replay, { rows, allowances }: Page): Promise<Omit<ReplayResult, 'left'>> {
  const { client, options } = replay
  const settled = settleRejects(replay, rows)
  for (const [index, buffer] of settled.buffers) {
    const copy = replay.tables.get(index)?.copy
    if (copy !== undefined) await copyIn(client, copy, buffer.take())
  }
  const { stored, changes } = settled
  if (stored.length > 0) {
    const keys = [stored.map((row) => row.repo), stored.map((row) => row.collection), stored.map((row) => row.rkey)]
    await client.query(removeRejects, keys)
    await client.query(countRepos, [stored.map((row) => row.repo)])
    const odd = [...settled.oddities].map(([id, oddities]) => ({
      id,
      oddities: oddities.filter(({ original }) => allowances.get(id)?.allows(original)),
    }))
    changes.add('oddities', await copyOdditiesOf(client, odd))
    changes.add('rejected', -stored.length)
    await changes.write(client, counterWriter(options.process, 0))
  }
  return { stored: stored.length, rejected: settled.rejected }
}

interface Settled {
  stored: RejectRow[]
  rejected: number
  buffers: Map<number, RowBuffer>
  oddities: Map<number, Oddity[]>
  changes: CounterChanges
}

function settleRejects({ projection }: Replay, rows: readonly RejectRow[]): Settled {
  const settled: Settled = {
    stored: [],
    rejected: 0,
    buffers: new Map(),
    oddities: new Map(),
    changes: new CounterChanges(),
  }
  for (const row of rows) {
    if (row.code !== refusedByPostgres) projection.settle(rawEntry(row), sinkOf(settled, row))
  }
  return settled
}

/** The record as a walk would bring it: what `process` gives for a block that it keeps as it is. */
function rawEntry({ collection, rkey, cid, bytes }: RejectRow): Entry {
  const data = new Uint8Array(1 + bytes.length)
  data.set(bytes, 1)
  return entryOf({ collection, rkey, cid: Uint8Array.of(1, 0x71, 0x12, 0x20, ...cid), data })
}

function sinkOf(settled: Settled, row: RejectRow): ProjectionSink {
  return {
    row: (table, entry, fields) => {
      const buffer = settled.buffers.get(table.index) ?? new RowBuffer(table)
      settled.buffers.set(table.index, buffer)
      buffer.appendRow(row.repo, entry, fields)
      settled.changes.add(`rows/${table.name}`, 1)
      settled.stored.push(row)
    },
    oddity: (_table, _entry, column, code, original) => {
      const oddity = { collection: row.collection, rkey: row.rkey, column, code, original: original.slice() }
      settled.oddities.set(row.repo, [...(settled.oddities.get(row.repo) ?? []), oddity])
    },
    reject: () => {
      settled.rejected++
    },
    skipped: () => undefined,
    again: () => undefined,
  }
}
