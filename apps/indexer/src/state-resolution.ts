// From DID to host: repos whose host is not known yet out, hosts and keys in.
// One process at a time resolves (lease `resolve`). What was handed out is remembered until it is saved, so nothing is asked twice.
import { CounterChanges, counterWriter } from './counters.ts'
import { ask, transact } from './database-transact.ts'
import type { ErrorClass } from './errors.ts'
import { FrontLook } from './front-look.ts'
import type { StateContext } from './state.ts'
import { ensureHosts } from './state-hosts.ts'
import { clip, statusOf } from './state-outcomes.ts'
import { steadyNow } from './steady-clock.ts'
import { step } from './steps.ts'

export interface Unresolved {
  id: number
  did: string
  /** Outcomes in a row that were not done. */
  attempts: number
}

export interface Resolved {
  id: number
  /** 'https://pds.example.com' */
  origin: string
  signingKey: string
  handle?: string | undefined
}

export interface UnresolvedOutcome {
  id: number
  class: ErrorClass
  code: string
  message: string
  /** When to ask again; without one never by itself. */
  retryAt?: Date | undefined
  /** Nobody was asked: no attempt. */
  unasked?: boolean
}

export function createResolution({ database, process, bounds }: StateContext) {
  const { pool } = database
  const handedOut = new Set<number>()
  let after = 0
  let front = new FrontLook(0)
  let handedOutBy = process()

  return {
    /**
     * Empty: nothing to do now. Walks forward; ids that were committed late, and did:web that were passed over, are found by looking from
     * the front now and then.
     */
    async takeUnresolved(limit: number, { withWeb = true } = {}): Promise<Unresolved[]> {
      // Who was taken for dead has dropped what it had in hand.
      if (handedOutBy !== process()) {
        handedOutBy = process()
        handedOut.clear()
        front = new FrontLook(0)
      }
      if (front.isDue(steadyNow())) after = 0
      const values = [after, limit, [...handedOut], withWeb]
      const { rows } = await ask<Unresolved>(pool, { name: 'unresolved', text: selectUnresolved, values })
      const last = rows.at(-1)
      if (last !== undefined) after = last.id
      front.found(last !== undefined, steadyNow())
      const room = limit - rows.length
      const due =
        room > 0
          ? await ask<Unresolved>(pool, {
              name: 'unresolved-due',
              text: selectDue,
              values: [room, [...handedOut, ...rows.map((row) => row.id)], withWeb],
            })
          : { rows: [] }
      const taken = [...rows, ...due.rows]
      for (const { id } of taken) handedOut.add(id)
      return taken
    },

    async saveResolved(resolved: readonly Resolved[]): Promise<void> {
      if (resolved.length === 0) return
      const hosts = await transact(pool, async (client) => {
        const hosts = await ensureHosts(
          client,
          resolved.map((repo) => repo.origin),
        )
        const keys = resolved.map((repo) => repo.signingKey)
        const values = [resolved.map((repo) => repo.id), hosts, keys, resolved.map((repo) => repo.handle ?? null)]
        const { rows } = await client.query<Moved>({ name: 'resolved', text: updateResolved, values })
        const changes = new CounterChanges()
        for (const { was, state } of rows) changes.move(was, state)
        await changes.write(client, counterWriter(process(), 1))
        step('before-resolved-commit')
        return hosts
      })
      for (const [index, { id }] of resolved.entries()) {
        handedOut.delete(id)
        const bound = bounds.get(hosts[index] ?? 0)
        if (bound === undefined) continue
        bound.after = Math.min(bound.after, id - 1) // claims have passed it
        bound.lowerings++
      }
      step('after-resolved-commit')
    },

    async saveUnresolved(failures: readonly UnresolvedOutcome[]): Promise<void> {
      if (failures.length === 0) return
      await transact(pool, async (client) => {
        const states = failures.map((failure) => stateAfter[failure.class])
        const values = [
          failures.map((failure) => failure.id),
          states,
          failures.map((failure) => failure.code),
          failures.map((failure) => clip(failure.message)),
          failures.map((failure) => failure.retryAt?.toISOString() ?? null),
          failures.map((failure, index) => (states[index] === 'gone' ? statusOf(failure.code) : null)),
          failures.map((failure) => (failure.unasked ? 0 : 1)),
        ]
        const { rows } = await client.query<Moved>({ name: 'unresolved-outcomes', text: updateUnresolved, values })
        const changes = new CounterChanges()
        for (const { was, state } of rows) changes.move(was, state)
        await changes.write(client, counterWriter(process(), 1))
      })
      for (const { id } of failures) handedOut.delete(id)
    },
  }
}

type Moved = { was: 'waiting' | 'retry' | 'failed' | 'stale'; state: 'waiting' | 'retry' | 'failed' | 'stale' | 'gone' }

const stateAfter: Record<ErrorClass, 'retry' | 'gone' | 'failed'> = {
  retry: 'retry',
  gone: 'gone',
  'fail-repo': 'failed',
  'reject-record': 'failed',
  'stop-run': 'retry',
}

// Leans on repos_unresolved.
const selectUnresolved = `
  select id, did, attempts from repos
  where state = 'waiting' and host_id is null and id + 0 > $1 and not (id = any($3))
    and ($4::boolean or not starts_with(did, 'did:web:'))
  order by id + 0 limit $2`

// Leans on repos_due under host_id null.
const selectDue = `
  select id, did, attempts from repos
  where state in ('retry', 'stale', 'failed') and host_id is null and retry_at <= now() and not (id = any($2))
    and ($3::boolean or not starts_with(did, 'did:web:'))
  order by retry_at limit $1`

const updateResolved = `
  with v (id, host_id, signing_key, handle) as (select * from unnest($1::bigint[], $2::int[], $3::text[], $4::text[])),
  old as (
    select r.id, r.state, r.rev, v.host_id, v.signing_key, v.handle from repos r join v using (id)
    where r.state in ('waiting', 'retry', 'failed', 'stale') order by r.id for update of r
  )
  update repos r
  set host_id = old.host_id, signing_key = old.signing_key, handle = old.handle, resolved_at = now(), attempts = 0,
      error_code = null, error_message = null,
      state = case when old.rev is null then 'waiting' else 'stale' end::repo_state,
      retry_at = case when old.rev is null then null else now() end
  from old where r.id = old.id
  returning old.state as was, r.state`

const updateUnresolved = `
  with v (id, state, code, message, retry_at, status, counted) as (
    select * from unnest($1::bigint[], $2::repo_state[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $7::int[])
  ),
  old as (
    select r.id, r.state as was, v.state, v.code, v.message, v.retry_at, v.status, v.counted from repos r join v using (id)
    where r.state in ('waiting', 'retry', 'failed', 'stale') order by r.id for update of r
  )
  update repos r
  set state = old.state, error_code = old.code, error_message = old.message, retry_at = old.retry_at, status = old.status,
      attempts = attempts + old.counted, resolved_at = now()
  from old where r.id = old.id
  returning old.was, r.state`
