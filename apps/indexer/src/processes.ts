// Which processes live: a row with a heartbeat each, and what becomes of everything that a dead one held.
// A process is dead when its beat is too old, or when its pid is no more (process-place.ts). The surprise: its connections are
// ended before its claims are given back, because one that was stopped in a transaction would hold its repos locked.
import type { Pool, PoolClient } from 'pg'
import { CounterChanges, counterWriter } from './counters.ts'
import type { Database } from './database.ts'
import { ask, transact } from './database-transact.ts'
import { isGone, placeOf } from './process-place.ts'

/** A process that does not beat for so long has lost everything it held; six missed beats. */
export const defaultDeadAfterMs = 30_000

export async function insertProcess(
  { pool, session }: Database,
  { egress, deadAfterMs }: { egress: string; deadAfterMs: number },
): Promise<number> {
  const values = [egress, placeOf(process.pid), session, deadAfterMs]
  const { rows } = await ask<{ id: number }>(pool, { text: insertRow, values })
  const id = rows[0]?.id
  if (id === undefined) throw new Error('insert returning gives a row')
  return id
}

/** False: others took this process for dead, and everything it held is theirs. */
export async function beat(pool: Pool, process: number): Promise<boolean> {
  const { rowCount } = await ask(pool, {
    text: `update processes set beat_at = now() where id = $1`,
    values: [process],
  })
  return rowCount === 1
}

/** A clean end gives back everything at once. */
export async function removeProcess(pool: Pool, process: number): Promise<void> {
  await sweep(pool, { gone: [process], silent: [] }, counterWriter(process, 0))
}

/** Gives back what dead processes held: claims, hosts, leases. Returns the number of claims. */
export async function releaseDead({ pool, session }: Database, process: number): Promise<number> {
  const { rows } = await ask<ProcessRow>(pool, { text: listProcesses, values: [process] })
  const dead = rows.filter(isDead)
  const orphans = await ask(pool, findOrphans)
  if (dead.length === 0 && orphans.rowCount === 0) return 0
  const sessions = dead.map((row) => row.session).filter((one) => one !== null && one !== session)
  if (sessions.length > 0) await ask(pool, { text: endSessions, values: [sessions] })
  const gone = dead.filter((row) => !row.silent).map((row) => row.id)
  const silent = dead.filter((row) => row.silent).map((row) => row.id)
  return await sweep(pool, { gone, silent }, counterWriter(process, 0))
}

/** Where processes run that are not dead, whether or not anybody has looked after the dead ones. */
export async function livingPlaces(client: Pick<PoolClient, 'query'>): Promise<string[]> {
  const { rows } = await client.query<ProcessRow>(listProcesses, [0])
  return rows.filter((row) => !isDead(row)).map(({ place }) => place)
}

function isDead({ silent, place }: ProcessRow): boolean {
  return silent || isGone(place)
}

interface ProcessRow {
  id: number
  place: string
  session: string | null
  silent: boolean
}

const insertRow = `insert into processes (egress, place, session, dead_after_ms) values ($1, $2, $3, $4) returning id`

const isSilent = `beat_at < now() - dead_after_ms * interval '1 millisecond'`

const listProcesses = `select id, place, session, ${isSilent} as silent from processes where id <> $1`

// Silent ones may have beaten since they were looked at: one that was stopped and goes on keeps what it holds.
const deleteDead = `delete from processes where id = any($1) or (id = any($2) and ${isSilent})`

// Needs the same role, or pg_signal_backend; the connections of others are left alone. Each is waited for (a second at most), so
// that its locks are free.
const endSessions = `
  select pg_terminate_backend(pid, 1000) from pg_stat_activity
  where application_name = any($1) and datname = current_database() and usename = current_user`

// A claim holds its process in the upper bits; working repos are few, and repos_working finds them.
const findOrphans = `
  select 1 from repos r
  where state = 'working' and not exists (select from processes p where p.id = r.claim >> 40)
  order by claim limit 1`

// What a connection that is still ending has locked is found at the next look.
const releaseOrphans = `
  with orphan as (
    select id from repos r
    where state = 'working' and not exists (select from processes p where p.id = r.claim >> 40)
    order by claim for update skip locked
  )
  update repos r
  set state = case when rev is null then 'waiting' else 'stale' end::repo_state,
      retry_at = case when rev is null then null else now() end, claim = null
  from orphan where r.id = orphan.id
  returning r.state`

async function sweep(pool: Pool, dead: { gone: number[]; silent: number[] }, writer: number): Promise<number> {
  return await transact(pool, async (client: PoolClient) => {
    await client.query(deleteDead, [dead.gone, dead.silent])
    const { rows } = await client.query<{ state: 'waiting' | 'stale' }>(releaseOrphans)
    await client.query(`delete from host_leases l where not exists (select from processes p where p.id = l.process)`)
    await client.query(`delete from leases l where not exists (select from processes p where p.id = l.process)`)
    const changes = new CounterChanges()
    for (const { state } of rows) changes.move('working', state)
    await changes.write(client, writer)
    return rows.length
  })
}
