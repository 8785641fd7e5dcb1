// Which processes live, and what each of them owns: itself (a row with a heartbeat), named leases, hosts, claims.
// A process is dead when its beat is too old, or when it ran in this pid namespace and its pid is no more: so a restart after
// kill -9 need not wait for the beat to age.
import { readFileSync, readlinkSync } from 'node:fs'
import { hostname } from 'node:os'
import type { Pool, PoolClient } from 'pg'
import { CounterChanges, counterWriter } from './counters.ts'
import { ask, transact } from './database-transact.ts'

/** A process that does not beat for so long has lost everything it held; six missed beats. */
export const deadAfterMs = 30_000

export async function insertProcess(pool: Pool, egress: string): Promise<number> {
  const text = `insert into processes (egress, place) values ($1, $2) returning id`
  const { rows } = await ask<{ id: number }>(pool, { text: text, values: [egress, placeOf(process.pid)] })
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
  await sweep(pool, [process], counterWriter(process, 0))
}

/** Gives back what dead processes held: claims, hosts, leases. Returns the number of claims. */
export async function releaseDead(pool: Pool, process: number): Promise<number> {
  const { rows } = await ask<ProcessRow>(pool, { text: listProcesses, values: [process, deadAfterMs] })
  const dead = rows.filter((row) => row.silent || isGone(row.place)).map((row) => row.id)
  const orphans = await ask(pool, findOrphans)
  if (dead.length === 0 && orphans.rowCount === 0) return 0
  return await sweep(pool, dead, counterWriter(process, 0))
}

/** True when the lease is ours now, or was already. */
export async function takeLease(pool: Pool, name: string, process: number): Promise<boolean> {
  const { rowCount } = await ask(pool, { text: insertLease, values: [name, process] })
  return rowCount === 1
}

/** The lease of a process that wants the whole database for itself. */
export const aloneLease = 'alone'

/** Where it runs that has the database for itself; undefined: nobody, or we do. */
export async function aloneElsewhere(pool: Pool, process: number): Promise<string | undefined> {
  const text = `select place from leases l join processes p on p.id = l.process where name = $1 and process <> $2`
  const { rows } = await ask<{ place: string }>(pool, { text, values: [aloneLease, process] })
  return rows[0]?.place
}

/** Where the others run that live. */
export async function otherProcesses(pool: Pool, process: number): Promise<string[]> {
  const { rows } = await ask<{ place: string }>(pool, {
    text: `select place from processes where id <> $1`,
    values: [process],
  })
  return rows.map(({ place }) => place)
}

export async function dropLease(pool: Pool, name: string, process: number): Promise<void> {
  await ask(pool, { text: `delete from leases where name = $1 and process = $2`, values: [name, process] })
}

interface ProcessRow {
  id: number
  place: string
  silent: boolean
}

const listProcesses = `
  select id, place, beat_at < now() - $2 * interval '1 millisecond' as silent from processes where id <> $1`

// A claim holds its process in the upper bits; working repos are few, and repos_working finds them.
const findOrphans = `
  select 1 from repos r
  where state = 'working' and not exists (select from processes p where p.id = r.claim >> 40)
  order by claim limit 1`

const insertLease = `
  insert into leases as l (name, process)
  select $1, $2 where exists (select from processes where id = $2)
  on conflict (name) do update set process = excluded.process, taken_at = now()
  where l.process = excluded.process or not exists (select from processes p where p.id = l.process)
  returning 1`

const releaseOrphans = `
  with orphan as (
    select id from repos r
    where state = 'working' and not exists (select from processes p where p.id = r.claim >> 40)
    order by claim for update
  )
  update repos r
  set state = case when rev is null then 'waiting' else 'stale' end::repo_state,
      retry_at = case when rev is null then null else now() end, claim = null
  from orphan where r.id = orphan.id
  returning r.state`

async function sweep(pool: Pool, dead: number[], writer: number): Promise<number> {
  return await transact(pool, async (client: PoolClient) => {
    await client.query(`delete from processes where id = any($1)`, [dead])
    const { rows } = await client.query<{ state: 'waiting' | 'stale' }>(releaseOrphans)
    await client.query(`update hosts h set process = null
      where process is not null and not exists (select from processes p where p.id = h.process)`)
    await client.query(`delete from leases l where not exists (select from processes p where p.id = l.process)`)
    const changes = new CounterChanges()
    for (const { state } of rows) changes.move('working', state)
    await changes.write(client, writer)
    return rows.length
  })
}

/** machine, boot and pid namespace, pid and its start time: enough to know whether the process still runs. */
function placeOf(pid: number): string {
  return `${hostname()} ${pidSpace()} ${pid} ${startOf(pid) ?? '?'}`
}

function isGone(place: string): boolean {
  const [machine, space, pid, start] = place.split(' ')
  return machine === hostname() && space === pidSpace() && startOf(Number(pid)) !== start
}

function pidSpace(): string {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim()
    return `${boot}:${readlinkSync('/proc/self/ns/pid')}`
  } catch {
    return 'unknown'
  }
}

/** Field 22 of /proc/PID/stat, after the parenthesised name; undefined: no such process, or a zombie. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? undefined : fields[19]
  } catch {
    return undefined
  }
}
