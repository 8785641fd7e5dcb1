// How a claimed repo ends without rows: retried later, failed, or gone. Many in one statement, each under its claim token.
import { CounterChanges, counterWriter } from './counters.ts'
import { transact } from './database-transact.ts'
import type { RepoState } from './repo-states.ts'
import type { ClaimedRepo, StateContext } from './state.ts'
import { step } from './steps.ts'

export interface RepoOutcome {
  claim: Pick<ClaimedRepo, 'id' | 'claim'>
  code: string
  message: string
  /** When it is due again; without one never by itself. */
  retryAt?: Date | undefined
  /** The directory could not be asked: no attempt of the repo's. */
  unasked?: boolean
}

export function createOutcomes({ database, process }: StateContext) {
  /** Returns how many were still ours. */
  const settle = async (state: 'retry' | 'failed' | 'gone', outcomes: readonly RepoOutcome[]): Promise<number> => {
    if (outcomes.length === 0) return 0
    const values = [
      outcomes.map(({ claim }) => claim.id),
      outcomes.map(({ claim }) => claim.claim),
      outcomes.map(({ code }) => code),
      outcomes.map(({ message }) => clip(message)),
      outcomes.map(({ retryAt }) => retryAt?.toISOString() ?? null),
      outcomes.map(({ code }) => (state === 'gone' ? statusOf(code) : null)),
      state,
      outcomes.map(({ unasked }) => (unasked ? 0 : 1)),
    ]
    const settled = await transact(database.pool, async (client) => {
      const { rows } = await client.query<{ state: RepoState }>({ name: 'outcomes', text: updateOutcomes, values })
      const changes = new CounterChanges()
      changes.move('working', state, rows.length)
      await changes.write(client, counterWriter(process(), 3))
      step('before-outcomes-commit')
      return rows.length
    })
    step('after-outcomes')
    return settled
  }

  return {
    retryRepos: (outcomes: readonly RepoOutcome[]) => settle('retry', outcomes),
    failRepos: (outcomes: readonly RepoOutcome[]) => settle('failed', outcomes),
    /** Rows that it has stay, hidden from the views. */
    goneRepos: (outcomes: readonly RepoOutcome[]) => settle('gone', outcomes),

    /** All repos that wait for a host which has been dead for too long, in batches; gives how many. */
    async failHost(
      hostId: number,
      { code, message, retryAt }: Omit<RepoOutcome, 'claim' | 'unasked'>,
    ): Promise<number> {
      const values = [hostId, code, clip(message), retryAt?.toISOString() ?? null, failHostBatch]
      let failed = 0
      for (;;) {
        const batch = await transact(database.pool, async (client) => {
          const { rows } = await client.query<{ was: RepoState }>({ name: 'fail-host', text: failWaiting, values })
          const changes = new CounterChanges()
          for (const { was } of rows) changes.move(was, 'failed')
          await changes.write(client, counterWriter(process(), 3))
          return rows.length
        })
        failed += batch
        if (batch < failHostBatch) return failed
      }
    },
  }
}

const failHostBatch = 5000

// Leans on repos_waiting and repos_due.
const failWaiting = `
  with old as (
    (select id, state from repos where state = 'waiting' and host_id = $1 limit $5)
    union all (select id, state from repos where state in ('retry', 'stale') and host_id = $1 limit $5)
    limit $5
  ),
  locked as (
    select r.id, r.state from repos r
    where r.id in (select id from old) and r.host_id = $1 and r.state in ('waiting', 'retry', 'stale') order by r.id for update
  )
  update repos r
  set state = 'failed', error_code = $2, error_message = $3, retry_at = $4::timestamptz, attempts = r.attempts + 1
  from locked where r.id = locked.id
  returning locked.state as was`

// A repo that has rows and is gone is hidden in the same statement.
const updateOutcomes = `
  with v (id, claim, code, message, retry_at, status, counted) as (
    select * from unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::timestamptz[], $6::text[], $8::int[])
  ),
  old as (
    select r.id, r.rev, v.code, v.message, v.retry_at, v.status, v.counted from repos r join v on r.id = v.id and r.claim = v.claim
    where r.state = 'working' order by r.id for update of r
  ),
  hidden as (
    insert into hidden_repos (repo) select id from old where $7::repo_state = 'gone' and rev is not null order by id on conflict do nothing
  )
  update repos r
  set state = $7::repo_state, claim = null, error_code = old.code, error_message = old.message, retry_at = old.retry_at,
      status = old.status, attempts = r.attempts + old.counted
  from old where r.id = old.id
  returning r.state`

const statuses: Record<string, string> = {
  RepoDeactivated: 'deactivated',
  RepoTakendown: 'takendown',
  RepoSuspended: 'suspended',
  RepoNotFound: 'deleted',
  DidTombstoned: 'deleted',
}

/** What `accounts.status` shows for a code of class `gone`. */
export function statusOf(code: string): string {
  return statuses[code] ?? 'inactive'
}

const messageCharacters = 500

/** For a text column: bounded, and without NUL, which Postgres refuses. */
export function clip(message: string): string {
  return message.slice(0, messageCharacters).replaceAll('\0', '').toWellFormed()
}
