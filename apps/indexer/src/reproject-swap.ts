// Puts the filled shadow in the place of what readers see, in one transaction: tables, views, names, counters, rejects, oddities
// and what `repos` says of each repo; then nothing of the shadow is left. Readers wait for the last moments of it only. The
// surprise: a query that runs for long is waited for in short tries, so that other readers do not queue behind the swap.
import { setTimeout as sleep } from 'node:timers/promises'
import type { PoolClient } from 'pg'
import type { Config } from './config.ts'
import { CounterChanges, counterWriter } from './counters.ts'
import type { Database } from './database.ts'
import { sqlState } from './database-errors.ts'
import { transact } from './database-transact.ts'
import { IndexerError } from './errors.ts'
import { finishLock } from './finish.ts'
import { aloneLease } from './leases.ts'
import { outdateAmong } from './outdate.ts'
import { shadowSchema } from './reproject-shadow.ts'
import { applySchemaIn, dropUnused, openBooksFor } from './schema.ts'
import { type AppliedTable, readWork, workFor } from './schema-changes.ts'
import { grantsOn } from './schema-grants.ts'
import { quoteName } from './schema-sql.ts'
import { step } from './steps.ts'

export interface SwapOptions {
  config: Config
  process: number
  signal: AbortSignal
}

/** Gives how many repos could not be reprojected and lack something that the new config wants: they are stale now. */
export async function swapShadow(database: Database, options: SwapOptions): Promise<number> {
  const shadow = shadowSchema(database)
  let stale = 0
  step('before-swap')
  await transact(database.pool, async (client) => {
    const { rowCount } = await client.query('select from pg_namespace where nspname = $1', [shadow])
    if (rowCount === 0) return // the commit was answered by a broken connection
    stale = await swap({ client, live: database.schema, shadow, ...options })
    step('before-swap-commit')
  })
  step('after-swap')
  return stale
}

interface Swap extends SwapOptions {
  client: PoolClient
  live: string
  shadow: string
}

async function swap(swap: Swap): Promise<number> {
  const { client, live, shadow, config } = swap
  await checkAlone(swap)
  const applied = await openBooksFor(client, live, config)
  const stale = await updateRepos(swap, applied)
  await replaceCounters(swap)
  const names = [...config.tables.map((table) => table.rowsName), 'reject_rows', 'oddity_rows']
  await lockViews(swap)
  await checkAlone(swap)
  const old = `${live}_replaced`
  await client.query(`create schema ${old}`)
  for (const name of names) {
    const grants = await grantsOn(client, `${live}.${quoteName(name)}`)
    await client.query(`alter table if exists ${live}.${quoteName(name)} set schema ${old}`)
    await client.query(`alter table ${shadow}.${quoteName(name)} set schema ${live}`)
    for (const grant of grants) await client.query(grant)
  }
  await applySchemaIn(client, { schema: live, config, replaced: true })
  for (const name of names) await dropUnused(client, `table if exists ${old}.${quoteName(name)}`)
  await client.query(`drop schema ${old}`)
  await client.query(`drop schema ${shadow} cascade`)
  return stale
}

/** Whoever was stopped for long was taken for dead: we, and then others may have begun; or another, which has come back. */
async function checkAlone({ client, live, process }: Swap): Promise<void> {
  const alone = `select from leases where name = $1 and process = $2 and not exists (select from processes where id <> $2)`
  const { rowCount } = await client.query(alone, [aloneLease, process])
  if (rowCount !== 1) throw busy('another process has begun to work on this database: stop it, then start again')
  const tryLock = 'select pg_try_advisory_xact_lock($1, hashtext($2)) as ours'
  const { rows } = await client.query<{ ours: boolean }>(tryLock, [finishLock, live])
  if (rows[0]?.ours !== true) throw busy('another process is building indexes. Start again when it has ended')
}

function busy(message: string): IndexerError {
  return new IndexerError('DatabaseBusy', message)
}

/** Repos that were left as they are become stale if the new config wants what they do not have; the others are up to date. */
async function updateRepos(
  { client, live, shadow, config, process }: Swap,
  applied: ReadonlyMap<string, AppliedTable>,
): Promise<number> {
  const work = [...(await readWork(client, live)), ...config.tables.flatMap((table) => workFor(table, config, applied))]
  const among = `id in (select id from ${shadow}.repos where state = 'stale')`
  let stale = 0
  const exists = (name: string) => applied.values().some(({ rowsName }) => rowsName === name)
  for (const one of work) stale += await outdateAmong(client, { work: one, among, exists }, { config, process })
  await client.query(`delete from ${live}.schema_changes`)
  const { rows } = await client.query<{ settled: number; moved: number }>(takeOver(shadow))
  const { settled = 0, moved = 0 } = rows[0] ?? {}
  if (moved > 0)
    throw busy(`another process has written ${moved} repos meanwhile. Start again: only these are left to do`)
  const changes = new CounterChanges()
  changes.move('stale', 'done', settled)
  await changes.write(client, counterWriter(process, 0))
  return stale
}

/** A repo that was stale for what it has now is done; one that is gone would not be stale for it any more. One that is not of the commit that the shadow has was written by others. */
function takeOver(shadow: string): string {
  const lacked = `r.state in ('stale', 'gone') and r.stale_reason in ('missing-collection', 'missing-column')`
  return `
  with before as (
    select r.id, coalesce(${lacked}, false) as lacked, r.state = 'stale' as stale, (r.rev, r.head) is distinct from (s.rev, s.head) as moved
    from repos r join ${shadow}.repos s on s.id = r.id where s.state = 'done' order by r.id for update of r
  ), after as (
    update repos r
    set records = s.records, rejected = s.rejected, skipped = s.skipped, projection_version = s.projection_version,
        state = case when b.lacked and b.stale then 'done' else r.state end, stale_reason = case when not b.lacked then r.stale_reason end,
        retry_at = case when not (b.lacked and b.stale) then r.retry_at end
    from before b join ${shadow}.repos s on s.id = b.id where r.id = b.id
    returning b.lacked and b.stale as settled, b.moved
  )
  select count(*) filter (where settled)::int8 as settled, count(*) filter (where moved)::int8 as moved from after`
}

/** Those of rows, rejects, oddities and left-out records; states and the rest are the crawl's. */
async function replaceCounters({ client, live, shadow, config }: Swap): Promise<void> {
  const rows = config.tables.map(({ name }) => `rows/${name}`)
  const ours = `name = any($1) or name in ('rejected', 'oddities') or starts_with(name, 'skipped/')`
  await client.query(`delete from ${live}.counters where ${ours}`, [rows])
  await client.query(
    `insert into ${live}.counters (name, writer, value)
    select name, 0, sum(value) from ${shadow}.counters where ${ours} group by name having sum(value) <> 0`,
    [rows],
  )
}

/**
 * Under a second, Postgres has not looked for a deadlock yet, which a reader would lose; every third try is longer, because
 * only a wait of more than a second makes autovacuum give way.
 */
const lockTimeoutsMs = [400, 400, 3_000]
const lockPauseMs = 1_000
/** About a quarter of an hour. */
const maxLockTries = 400
const lockNotAvailable = '55P03'
const deadlock = '40P01'

/** A lock on a view is one on its tables as well. */
async function lockViews({ client, live, config, signal }: Swap): Promise<void> {
  const { rows } = await client.query<{ name: string }>(`select viewname as name from pg_views where schemaname = $1`, [
    live,
  ])
  const wanted = new Set([...config.tables.map(({ name }) => name), 'rejects', 'oddities'])
  const views = rows.filter(({ name }) => wanted.has(name)).map(({ name }) => `${live}.${quoteName(name)}`)
  if (views.length === 0) return
  for (let tries = 0; tries < maxLockTries; tries++) {
    signal.throwIfAborted()
    await client.query(`savepoint views; set local lock_timeout = ${lockTimeoutsMs[tries % lockTimeoutsMs.length]}`)
    try {
      await client.query(`lock table ${views.join(', ')} in access exclusive mode`)
      await client.query('set local lock_timeout = 0')
      return
    } catch (error) {
      if (sqlState(error) !== lockNotAvailable && sqlState(error) !== deadlock) throw error
      await client.query('rollback to savepoint views')
    }
    await sleep(lockPauseMs, undefined, { signal })
  }
  throw busy('queries that run for very long hold the views. Start again: only the swap is left to do')
}
