// Marks repos `stale` that a changed config concerns, and only those: a new collection, those that hold records of it; a new
// column, those with rows in its table. Works through `schema_changes` in steps that commit, so a kill loses nothing.
import type { Pool, PoolClient } from 'pg'
import type { Config, Table } from './config.ts'
import { CounterChanges, counterWriter } from './counters.ts'
import { ask, transact } from './database-transact.ts'
import type { SchemaWork } from './schema-changes.ts'
import { quoteName, quoteText } from './schema-sql.ts'

export interface OutdateOptions {
  config: Config
  /** Whose rows of `counters` are changed. */
  process: number
  signal?: AbortSignal
  /** After each step: repos looked at and marked so far, for this change. */
  onProgress?: (progress: Outdated & { lookedAt: number; of: number }) => void
  /** Ids looked at in one transaction. */
  window?: number
}

export interface Outdated {
  table: string
  reason: string
  /** Repos that are to be fetched again. */
  repos: number
}

/** Gives what was marked by this call, one entry for each change. Call it after `applySchema`, before claims begin. */
export async function outdateRepos(
  database: { pool: Pool; schema: string },
  options: OutdateOptions,
): Promise<Outdated[]> {
  const done: Outdated[] = []
  await ask(database.pool, forgetWithoutRepos)
  for (;;) {
    const { rows } = await ask<Change>(database.pool, nextChange)
    const change = rows[0]
    if (change === undefined) return done
    done.push(await workThrough(database, change, options))
  }
}

type Change = SchemaWork & { id: number; last: number }

/** A young database has a change for each table and no repo that any of them concerns. */
const forgetWithoutRepos = 'delete from schema_changes where not exists (select from repos)'
const nextChange = `
  select id, table_name as "table", reason, patterns, row_tables as "rowTables", (select coalesce(max(id), 0) from repos) as last
  from schema_changes order by id limit 1`
const defaultWindow = 20_000

async function workThrough(database: { pool: Pool }, change: Change, options: OutdateOptions): Promise<Outdated> {
  const outdated: Outdated = { table: change.table, reason: change.reason, repos: 0 }
  for (;;) {
    options.signal?.throwIfAborted()
    const step = await transact(database.pool, (client) => stepOn(client, change, options))
    outdated.repos += step.marked
    options.onProgress?.({ ...outdated, lookedAt: Math.min(step.to, change.last), of: change.last })
    if (step.to >= change.last) return outdated
  }
}

/** One window of ids. The row of the change is the lock between processes. */
async function stepOn(
  client: PoolClient,
  change: Change,
  { config, process, window = defaultWindow }: OutdateOptions,
): Promise<{ to: number; marked: number }> {
  const { rows } = await client.query<{ from: number }>(
    'select done_to as "from" from schema_changes where id = $1 for update',
    [change.id],
  )
  const from = rows[0]?.from
  if (from === undefined) return { to: change.last, marked: 0 } // another process has come to the end
  const to = from + window
  const where = concernedWhere(change, { config })
  const marked = where === undefined ? 0 : await markStale(client, where, [from, to, change.reason])
  if (to >= change.last) await client.query('delete from schema_changes where id = $1', [change.id])
  else await client.query('update schema_changes set done_to = $2 where id = $1', [change.id, to])
  const changes = new CounterChanges()
  changes.move('done', 'stale', marked)
  await changes.write(client, counterWriter(process, 0))
  return { to, marked }
}

/** The same in the caller's transaction, for repos that `among`, a condition on `id`, chooses; gives how many. */
export async function outdateAmong(
  client: PoolClient,
  { work, among, exists }: { work: SchemaWork; among: string; exists: (rowsName: string) => boolean },
  { config, process }: OutdateOptions,
): Promise<number> {
  const where = concernedWhere(work, { config, exists })
  if (where === undefined) return 0
  const marked = await markStale(client, `${among} and (${where})`, [0, Number.MAX_SAFE_INTEGER, work.reason])
  const changes = new CounterChanges()
  changes.move('done', 'stale', marked)
  await changes.write(client, counterWriter(process, 0))
  return marked
}

/**
 * Gives how many are stale now. One that is gone with its rows stays so: it only remembers why it is stale should it come back. The rows
 * of all that are concerned are written anew, whatever state they are in: a config that comes back has its old version, but a column
 * that comes back is empty.
 */
async function markStale(client: PoolClient, where: string, values: [number, number, string]): Promise<number> {
  const { rows } = await client.query<{ marked: number }>(markConcerned(where), values)
  return rows[0]?.marked ?? 0
}

/** In the order of ids, as every writer locks them. */
function markConcerned(where: string): string {
  return `
  with concerned as (
    select id, state = 'done' as done,
           state = 'done' or state = 'gone' and coalesce(stale_reason not like 'missing-%', true) as told
    from repos r where id > $1 and id <= $2 and rev is not null and (${where}) order by id for update
  ), marked as (
    update repos r
    set projection_version = null,
        stale_reason = case when c.told then $3 else r.stale_reason end, state = case when c.done then 'stale' else r.state end,
        retry_at = case when c.done then now() else r.retry_at end, attempts = case when c.done then 0 else r.attempts end
    from concerned c where r.id = c.id and (c.told or r.projection_version is not null)
    returning c.done
  )
  select count(*) filter (where done)::int8 as marked from marked`
}

/** A condition on `repos r`; undefined: the table was taken out of the config again. `exists`: tables that are there yet. */
export function concernedWhere(
  change: SchemaWork,
  { config, exists = () => true }: { config: Config; exists?: (rowsName: string) => boolean },
): string | undefined {
  const table = config.tables.find((one) => one.name === change.table)
  if (table === undefined) return undefined
  const exact = change.patterns.filter((pattern) => !pattern.endsWith('*'))
  const beginnings = change.patterns.filter((pattern) => pattern.endsWith('*')).map((pattern) => pattern.slice(0, -1))
  const conditions = change.rowTables.filter(exists).map(hasRows)
  if (change.patterns.length > 0) conditions.push(hasLeftOut(textArray(exact), textArray(beginnings)))
  const generic = config.tables.find((one) => one.generic)
  if (generic !== undefined && exists(generic.rowsName) && !table.generic && exact.length > 0)
    conditions.push(hasGenericRows(generic, textArray(exact)))
  return conditions.length === 0 ? 'false' : conditions.join(' or ')
}

/** What was left out so far is counted by repo, the least frequent of many collections as '(other)'. */
function hasLeftOut(exact: string, beginnings: string): string {
  return `exists (
      select from jsonb_object_keys(r.skipped) k
      where k = any(${exact}) or k = '(other)' or exists (select from unnest(${beginnings}) b where starts_with(k, b)))`
}

/** Leans on the primary key, of which the repo is the first column. */
function hasRows(rowsName: string): string {
  return `exists (select from ${quoteName(rowsName)} t where t.repo = r.id)`
}

/** Leans on the primary key (repo, collection, rkey). */
function hasGenericRows(generic: Table, exact: string): string {
  return `exists (select from ${quoteName(generic.rowsName)} g where g.repo = r.id and g.collection = any(${exact}))`
}

function textArray(texts: readonly string[]): string {
  return `array[${texts.map(quoteText).join(', ')}]::text[]`
}
