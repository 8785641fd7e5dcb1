// Work that has one owner among all processes: each source, resolving, the copy of the PLC directory, building indexes.
// A name and the work in; it runs here when the lease is ours. The surprise: it may run again, for a process that was taken for
// dead loses its leases, and waits for its turn as the others do.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool } from 'pg'
import { ask } from './database-transact.ts'

/** Between attempts to take what another process has. */
const takeEveryMs = 1_000

export interface LeaseHolder {
  takeLease(name: string): Promise<boolean>
  dropLease(name: string): Promise<void>
  /** Aborts when others took this process for dead; another signal stands here then. */
  readonly lost: AbortSignal
}

/** Waits for the lease, works, and gives it back. The work's signal aborts with `signal`, or when the lease is lost. */
export async function withLease<T>(
  holder: LeaseHolder,
  { name, signal }: { name: string; signal: AbortSignal },
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  for (;;) {
    signal.throwIfAborted()
    const { lost } = holder
    if (!(await holder.takeLease(name))) {
      await sleep(takeEveryMs, undefined, { signal })
      continue
    }
    try {
      return await work(AbortSignal.any([signal, lost]))
    } catch (error) {
      if (signal.aborted || !lost.aborted) throw error
    } finally {
      await holder.dropLease(name)
    }
  }
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

const insertLease = `
  insert into leases as l (name, process)
  select $1, $2 where exists (select from processes where id = $2)
  on conflict (name) do update set process = excluded.process, taken_at = now()
  where l.process = excluded.process or not exists (select from processes p where p.id = l.process)
  returning 1`
