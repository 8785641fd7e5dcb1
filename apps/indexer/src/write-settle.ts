// The end of every write: what the repos are now, and the counters, which are locked last and briefly.
import type { ClientBase } from 'pg'
import { type CounterChanges, counterWriter } from './counters.ts'
import { step } from './steps.ts'
import type { RepoTotals } from './write.ts'
import type { LockedRepo } from './write-fence.ts'
import type { RoleContext } from './write-tables.ts'

export interface Settled extends Pick<RepoTotals, 'rev' | 'head' | 'skipped'> {
  locked: LockedRepo
  records: number
  rejected: number
}

const updateRepos = `
  update repos r
  set state = v.state, claim = null, rev = v.rev, head = v.head, records = v.records, rejected = v.rejected,
      skipped = v.skipped, projection_version = $8, indexed_at = now(), retry_at = v.retry_at,
      stale_reason = case when v.state = 'stale' then 'behind' end,
      attempts = case when v.state = 'stale' then r.attempts + 1 else 0 end, status = null, error_code = null, error_message = null
  from unnest($1::bigint[], $2::repo_state[], $3::text[], $4::bytea[], $5::bigint[], $6::int[], $7::jsonb[], $9::timestamptz[])
    as v (id, state, rev, head, records, rejected, skipped, retry_at)
  where r.id = v.id`

export async function settle(
  client: ClientBase,
  { repos, changes }: { repos: readonly Settled[]; changes: CounterChanges },
  context: RoleContext,
): Promise<void> {
  const states = repos.map(stateAfter)
  const skipped = repos.map((repo) => skippedOf(repo))
  step('before-state')
  const values = [
    repos.map(({ locked }) => locked.id),
    states,
    repos.map(({ rev }) => rev),
    repos.map(({ head }) => head),
    repos.map(({ records }) => records),
    repos.map(({ rejected }) => rejected),
    skipped.map((counts) => (counts.size === 0 ? null : JSON.stringify(Object.fromEntries(counts)))),
    context.config.version,
    repos.map(({ locked }, index) => (states[index] === 'stale' ? behindUntil(locked.attempts) : null)),
  ]
  await client.query({ name: 'settle', text: updateRepos, values })
  for (const [index, { locked }] of repos.entries()) {
    changes.move('working', states[index] ?? 'done')
    for (const [collection, records] of Object.entries(locked.skipped ?? {}))
      changes.add(`skipped/${collection}`, -records)
    for (const [collection, records] of skipped[index] ?? []) changes.add(`skipped/${collection}`, records)
  }
  step('before-counts')
  await changes.write(client, counterWriter(context.process(), context.role))
  step('before-commit')
}

/** A snapshot that is older than what live events have shown comes from a mirror or a host that lags: fetched again. */
function stateAfter({ locked, rev }: Settled): 'done' | 'stale' {
  return locked.seenRev !== null && locked.seenRev > rev ? 'stale' : 'done'
}

function behindUntil(attempts: number): string {
  return new Date(Date.now() + 5_000 * 2 ** Math.min(attempts, 10)).toISOString()
}

/** A stranger chooses how many collections a repo has; the rest are counted together. */
const maxSkippedCollections = 100
/** Stands for them, also in what a walk counts. */
export const otherCollections = '(other)'

function skippedOf({ skipped }: Settled): Map<string, number> {
  if (skipped.size <= maxSkippedCollections) return new Map(skipped)
  const named = [...skipped].filter(([name]) => name !== otherCollections)
  const sorted = named.sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
  const unnamed = skipped.get(otherCollections) ?? 0
  const rest = sorted.slice(maxSkippedCollections).reduce((sum, [, records]) => sum + records, unnamed)
  return new Map([...sorted.slice(0, maxSkippedCollections), [otherCollections, rest]])
}
