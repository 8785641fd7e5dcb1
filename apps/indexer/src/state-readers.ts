// The numbers behind the progress line and the status: sums of counters, never count(*) of a big table.
import { ask } from './database-transact.ts'
import { type Balance, repoStates } from './repo-states.ts'
import type { StateContext } from './state.ts'

export function createReaders({ database }: StateContext) {
  const { pool } = database
  return {
    /** I3: `discovered` is the sum of the states. */
    async readBalance(): Promise<Balance> {
      const sums = await sumsOf(database, ['discovered', ...repoStates.map((state) => `repos/${state}`)])
      const of = (name: string) => sums.get(name) ?? 0
      return {
        discovered: of('discovered'),
        waiting: of('repos/waiting'),
        working: of('repos/working'),
        retry: of('repos/retry'),
        stale: of('repos/stale'),
        done: of('repos/done'),
        failed: of('repos/failed'),
        gone: of('repos/gone'),
      }
    },

    /** Rows of each table, by the table's name in the config. */
    async rowsByTable(): Promise<Map<string, number>> {
      return await sumsUnder(database, 'rows/')
    },

    /** Records of collections that the config leaves out (I9). */
    async skippedByCollection(): Promise<Map<string, number>> {
      return await sumsUnder(database, 'skipped/')
    },

    async rejectsByCode(): Promise<Map<string, number>> {
      const { rows } = await ask<{ code: string; records: number }>(
        pool,
        `select code, count(*) as records from reject_rows group by code order by 2 desc`,
      )
      return new Map(rows.map(({ code, records }) => [code, records]))
    },

    /** Whether a source, in this version, was listed to its end since the first of the processes that live now began: in this crawl. */
    async wasListed(source: string, version?: string): Promise<boolean> {
      const values = [source, version === undefined ? '' : `${version} `]
      const { rows } = await ask<{ listed: boolean }>(pool, { text: selectListed, values })
      return rows[0]?.listed ?? false
    },

    /** Whether some repo's host is still to be asked for, now or later. */
    async unresolvedLeft(): Promise<boolean> {
      const { rows } = await ask<{ left: boolean }>(pool, selectUnresolvedLeft)
      return rows[0]?.left ?? false
    },

    /** Whether some repo with a host is still to be fetched, now or later, or is under way in any process. */
    async fetchesLeft(): Promise<boolean> {
      const { rows } = await ask<{ left: boolean }>(pool, selectFetchesLeft)
      return rows[0]?.left ?? false
    },

    /** When the next retry or stale repo is due, in ms from now; failed ones are not waited for. undefined: none. */
    async nextDueInMs(): Promise<number | undefined> {
      const { rows } = await ask<{ ms: number | null }>(pool, selectNextDue)
      const ms = rows[0]?.ms
      return ms === null || ms === undefined ? undefined : Math.max(0, ms)
    },
  }
}

const selectListed = `
  select finished_at >= (select min(started_at) from processes) is true
    and starts_with(coalesce(cursor, ''), $2) as listed
  from sources where name = $1`

async function sumsOf({ pool }: StateContext['database'], names: string[]): Promise<Map<string, number>> {
  const text = `select name, sum(value)::bigint as value from counters where name = any($1) group by name`
  const { rows } = await ask<{ name: string; value: number }>(pool, { name: 'sums-of', text, values: [names] })
  return new Map(rows.map(({ name, value }) => [name, value]))
}

async function sumsUnder({ pool }: StateContext['database'], prefix: string): Promise<Map<string, number>> {
  const text = `select substr(name, length($1) + 1) as name, sum(value)::bigint as value from counters where starts_with(name, $1) group by name order by name`
  const { rows } = await ask<{ name: string; value: number }>(pool, { name: 'sums-under', text, values: [prefix] })
  return new Map(rows.map(({ name, value }) => [name, value]))
}

// repos_unresolved, and repos_due under host_id null.
const selectUnresolvedLeft = `
  select (select true from repos where state = 'waiting' and host_id is null order by id + 0 limit 1) is true
      or (select true from repos where state in ('retry', 'stale', 'failed') and state <> 'failed' and host_id is null and retry_at is not null limit 1) is true
    as left`

// repos_working first: it is tiny, and while anything is under way it answers alone. Then repos_waiting, repos_due.
const selectFetchesLeft = `
  select (select true from repos where state = 'working' order by claim limit 1) is true
      or (select true from repos where state = 'waiting' and host_id is not null order by host_id, id limit 1) is true
      or (select true from repos where state in ('retry', 'stale', 'failed') and state <> 'failed' and host_id is not null and retry_at is not null limit 1) is true
    as left`

// One probe of repos_due for each host that has entries would be a scan of it; it is small: what failed, not what waits.
const selectNextDue = `
  select (extract(epoch from min(retry_at) - now()) * 1000)::float8 as ms
  from repos where state in ('retry', 'stale', 'failed') and state <> 'failed'`
