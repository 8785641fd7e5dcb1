// What listings change of repos that are known: a verdict of `judge` and its repos in, their new states out, counted. One statement each,
// within the transaction of a page.
import type { PoolClient } from 'pg'
import type { CounterChanges } from './counters.ts'
import type { Existing, Listed, Verdict } from './listing.ts'

/** What is done at once. */
export type Change = Exclude<Verdict, 'claimed'>

interface Judged {
  verdict: Change
  repos: Listed[]
  /** The host that each was judged by. One that has moved meanwhile is left as it is: its old host's word counts no more. */
  hostOf: (did: string) => number | null
  homeId: number | undefined
  changes: CounterChanges
}

/** Gives how many repos it changed. */
export async function applyVerdict(
  client: PoolClient,
  { verdict, repos, hostOf, homeId, changes }: Judged,
): Promise<number> {
  if (repos.length === 0) return 0
  const values = [
    repos.map((repo) => repo.did),
    repos.map((repo) => repo.status ?? null),
    repos.map((repo) => repo.rev ?? null),
    repos.map((repo) => hostOf(repo.did)),
    ...(verdict === 'revived' ? [homeId ?? null] : []),
  ]
  const { rows } = await client.query<Moved>({ name: `repos-${verdict}`, text: verdictStatements[verdict], values })
  for (const { was, state } of rows) changes.move(was, state)
  if (verdict === 'revived') await showRepos(client, rows)
  return rows.length
}

/**
 * Shows rows of repos that this transaction has taken out of `gone`. Within the statement that does, a repo that another transaction
 * hid while this one waited for its lock would stay hidden for ever: that statement sees what was there when it began.
 */
export async function showRepos(client: PoolClient, repos: readonly { id: number }[]): Promise<void> {
  if (repos.length === 0) return
  await client.query({ name: 'repos-show', text: deleteHidden, values: [repos.map(({ id }) => id)] })
}

const deleteHidden = `delete from hidden_repos where repo = any($1::bigint[])`

type Moved = { id: number; was: Existing['state']; state: Existing['state'] }

// Each locks its rows in the order of their ids and looks at host and state again: a claim, or a move, may have come in between.
const listedRows = `
  with listed (did, status, rev, host_id) as (select * from unnest($1::text[], $2::text[], $3::text[], $4::int[])),
  old as (
    select r.id, r.state, r.rev, r.stale_reason, r.resolved_at, l.status, l.rev as listed_rev from repos r join listed l using (did)
    where r.host_id is not distinct from l.host_id order by r.id for update of r
  )`

const verdictStatements: Record<Change, string> = {
  outdated: `${listedRows}
    update repos r set state = 'stale', stale_reason = 'newer-rev', retry_at = now(), attempts = 0
    from old where r.id = old.id and old.state = 'done' and old.listed_rev > old.rev
    returning r.id, old.state as was, r.state`,

  retired: `${listedRows}, hidden as (
      insert into hidden_repos (repo) select id from old where rev is not null and state <> 'working' order by id on conflict do nothing
    )
    update repos r set state = 'gone', status = coalesce(old.status, 'inactive'), retry_at = null
    from old where r.id = old.id and old.state <> 'working'
    returning r.id, old.state as was, r.state`,

  // What it was stale for when it went, or became so meanwhile (outdate.ts), it still is.
  revived: `${listedRows}
    update repos r
    set state = case
          when old.rev is null then 'waiting' when old.listed_rev <= old.rev and old.stale_reason is null then 'done' else 'stale'
        end::repo_state,
        stale_reason = case when old.rev is not null then coalesce(old.stale_reason, case when old.rev < old.listed_rev then 'newer-rev' end) end,
        host_id = case when old.rev is null and old.resolved_at is null and r.host_id is distinct from $5::int then null else r.host_id end,
        status = null, error_code = null, error_message = null, attempts = 0, retry_at = case when old.rev is not null then now() end
    from old where r.id = old.id and old.state = 'gone'
    returning r.id, old.state as was, r.state`,

  doubted: `${listedRows}
    update repos r
    set host_id = null, state = 'waiting', status = null, error_code = null, error_message = null, attempts = 0, retry_at = null
    from old where r.id = old.id and old.state <> 'working' and old.rev is null and old.resolved_at is null
    returning r.id, old.state as was, r.state`,

  wanted: `${listedRows}
    update repos r set state = 'retry', retry_at = now(), attempts = 0
    from old where r.id = old.id and old.state = 'failed'
    returning r.id, old.state as was, r.state`,
}
