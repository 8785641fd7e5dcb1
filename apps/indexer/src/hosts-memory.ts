// Keeps what the scheduler knows of hosts in the table `hosts`: a restart goes on as politely as before, and people see it.
// In: the scheduler and a database. Out: its state, restored at once and saved every few seconds and at the end; only what
// changed is written. Loss of the last seconds costs a few requests, so nothing waits for these writes.
import type { Database } from './database.ts'
import { ask } from './database-transact.ts'
import type { RememberedHost, RememberedLimits } from './host-leases.ts'
import type { Hosts } from './hosts.ts'
import type { KnownPace } from './hosts-bucket.ts'
import type { HostRow, RestoredHost } from './hosts-host.ts'
import { longestWindowMs } from './rate-limit.ts'
import { steadyTime, wallTime } from './steady-clock.ts'

export interface HostsMemory extends AsyncDisposable {
  save(): Promise<void>
}

/** Soon: a process that takes hosts over from one that was killed goes on from here. */
const saveEveryMs = 2_000

export async function keepHosts(hosts: Hosts, { pool }: Database): Promise<HostsMemory> {
  const saved = new Map<string, string>()
  const { rows } = await ask<RememberedHost>(pool, selectHosts)
  for (const row of rows) {
    saved.set(row.origin, '')
    hosts.restore(restored(row))
  }

  async function save(): Promise<void> {
    const changed: { row: HostRow; limits: string }[] = []
    for (const row of hosts.describe()) {
      const limits = limitsOf(row)
      const state = `${limits} ${row.failures} ${row.coolUntilMs ?? ''}`
      if (saved.get(row.origin) === state || (limits === '{}' && !saved.has(row.origin))) continue
      saved.set(row.origin, state)
      changed.push({ row, limits })
    }
    if (changed.length === 0) return
    changed.sort((a, b) => (a.row.origin < b.row.origin ? -1 : 1))
    await ask(pool, {
      name: 'hosts-save',
      text: updateHosts,
      values: [
        changed.map(({ row }) => row.origin),
        changed.map(({ row }) => row.failures),
        changed.map(({ row }) => (row.coolUntilMs === undefined ? null : isoTime(row.coolUntilMs))),
        changed.map(({ limits }) => limits),
      ],
    })
  }

  let saving = Promise.resolve()
  /** One after the other: what `saved` has is in the database when it returns. */
  const saveInTurn = (): Promise<void> => {
    const saved = saving.then(save)
    saving = saved.catch(() => undefined)
    return saved
  }
  const timer = setInterval(() => {
    // A database that is gone stops the run elsewhere; here it only means that less is remembered.
    void saveInTurn().catch(() => saved.clear())
  }, saveEveryMs)
  return {
    save: saveInTurn,
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await saveInTurn()
    },
  }
}

/** As the scheduler takes it up. */
export function restored({ origin, coolUntil, limits }: Omit<RememberedHost, 'hostId'>): RestoredHost {
  return {
    origin,
    ...fromLimits(limits ?? {}),
    coolUntilMs: coolUntil === null ? undefined : steadyTime(coolUntil.getTime()),
    deadSinceMs: limits?.deadSince === undefined ? undefined : fromIso(limits.deadSince),
  }
}

export function fromLimits({ limit, windowMs = 0, notBefore, slowed }: RememberedLimits): KnownPace {
  return {
    limit: windowMs > 0 ? limit : undefined,
    windowMs: Math.min(windowMs, longestWindowMs),
    notBeforeMs: notBefore === undefined ? undefined : fromIso(notBefore),
    slowed: slowed && { scale: slowed.scale, atMs: fromIso(slowed.at) },
  }
}

/** What is worth remembering; `remaining` is not, it is stale at once. */
export function asLimits({ limit, windowMs, notBeforeMs, slowed }: KnownPace): RememberedLimits {
  return {
    ...(limit === undefined ? {} : { limit, windowMs }),
    ...(notBeforeMs === undefined ? {} : { notBefore: isoTime(notBeforeMs) }),
    ...(slowed === undefined ? {} : { slowed: { scale: slowed.scale, at: isoTime(slowed.atMs) } }),
  }
}

function limitsOf(row: HostRow): string {
  const { state, deadSinceMs } = row
  const isDead = state !== 'ok' && deadSinceMs !== undefined
  return JSON.stringify({ ...asLimits(row), ...(isDead ? { deadSince: isoTime(deadSinceMs) } : {}) })
}

const isoTime = (steadyMs: number): string => new Date(wallTime(steadyMs)).toISOString()
const fromIso = (text: string): number => steadyTime(Date.parse(text))

/** As many as the scheduler remembers; those that have waited longest to be asked last. Scans `hosts`, once a run. */
const selectHosts = `
  select origin, cool_until as "coolUntil", limits
  from hosts
  where limits is not null
  order by seen_at desc nulls last
  limit 20000`

/** By the unique index on origin. */
const updateHosts = `
  update hosts h
  set failures = s.failures, cool_until = s.cool_until, limits = s.limits,
    seen_at = case when s.failures = 0 then now() else h.seen_at end
  from unnest($1::text[], $2::int[], $3::timestamptz[], $4::jsonb[]) as s(origin, failures, cool_until, limits)
  where h.origin = s.origin`
