// Who works on which repo: a host in, repos of it with claim tokens out.
// Claims walk forward by id from a bound that is remembered per host: entries of the index that are dead, but held by somebody's
// long snapshot, made each claim slower when it began at the front (4 -> 25 ms after 300,000 repos).
import { CounterChanges, counterWriter } from './counters.ts'
import { ask, insist, transact } from './database-transact.ts'
import { FrontLook } from './front-look.ts'
import { createHostLeases } from './host-leases.ts'
import type { RepoState } from './repo-states.ts'
import type { ClaimedRepo, StateContext } from './state.ts'
import { steadyNow } from './steady-clock.ts'
import { step } from './steps.ts'

export interface HostWithWork {
  hostId: number
  origin: string
  /** Leased to this process; otherwise to nobody who lives. */
  ours: boolean
}

/** Where the claims of a host go on. */
export interface HostBound {
  /** Waiting repos up to this id were claimed already. */
  after: number
  /** How often `after` was lowered: a look or a claim that was under way meanwhile does not raise it. */
  lowerings: number
  front: FrontLook
  /** It may have repos that are due again. */
  due: boolean
}

const claimsPerProcess = 40n // bits: a token is process << 40 | n

export function createClaims(context: StateContext) {
  const { database, process, bounds, leased, tenure } = context
  const { leaseHosts } = createHostLeases(context)
  const { pool } = database
  let claims = 0

  const boundsOf = (hostId: number): HostBound => {
    const known = bounds.get(hostId) ?? { after: 0, lowerings: 0, front: new FrontLook(steadyNow()), due: true }
    bounds.set(hostId, known)
    return known
  }

  const giveBack = ({ statement, values, afterClaim }: Release): Promise<void> =>
    transact(pool, async (client) => {
      if (afterClaim !== undefined) await client.query('select pg_advisory_xact_lock($1)', [afterClaim])
      const { rows } = await client.query<{ state: RepoState }>(statement, values)
      const changes = new CounterChanges()
      for (const { state } of rows) changes.move('working', state)
      await changes.write(client, counterWriter(process(), 2))
    })

  /**
   * One statement is the transaction: one round trip. Its tokens are drawn before: if a broken connection answers it, they tell
   * what it had claimed, and that is given back before it runs again: when it has ended, for the server goes on with a statement whose
   * client is lost, and what it claimed later would be nobody's for as long as we live.
   */
  const claim = async (kind: ClaimKind, { hostId, limit, parameters = [] }: ClaimWish): Promise<ClaimedRepo[]> => {
    const owner = process() // whoever is taken for dead meanwhile claims nothing, under its new number neither
    const first = (BigInt(owner) << claimsPerProcess) + BigInt(claims)
    claims += limit
    let runs = 0
    step('before-claim')
    const statement = {
      name: `claim-${kind}`,
      text: statements[kind],
      values: [owner, first.toString(), limit, hostId, counterWriter(owner, 2), ...parameters],
    }
    const rows = await insist(async () => {
      if (runs++ > 0)
        await giveBack({
          statement: releaseRange,
          values: [first.toString(), (first + BigInt(limit)).toString()],
          afterClaim: first.toString(),
        })
      return (await pool.query<ClaimedRepo>(statement)).rows
    })
    step('after-claim')
    return rows.sort((a, b) => a.id - b.id)
  }

  return {
    /** Hosts that have waiting or due repos and are ours or free: two index probes a host. */
    async hostsWithWork(): Promise<HostWithWork[]> {
      const known = [...bounds]
      const now = steadyNow()
      for (const [, bound] of known) if (bound.front.isDue(now)) bound.after = 0
      const looks = known.map(([hostId, bound]) => ({ hostId, bound, lowerings: bound.lowerings }))
      const values = [known.map(([id]) => id), known.map(([, { after }]) => after), process(), tenure.egress]
      const { rows } = await ask<HostLook>(pool, { name: 'hosts-with-work', text: selectHostsWithWork, values })
      const firsts = new Map(rows.map(({ hostId, firstWaiting, newest }) => [hostId, firstWaiting ?? newest ?? 1]))
      for (const { hostId, bound, lowerings } of looks) {
        if (bound.lowerings === lowerings) bound.after = Math.max(bound.after, (firsts.get(hostId) ?? 1) - 1)
      }
      const busy = rows.filter(({ firstWaiting, due }) => firstWaiting !== null || due)
      for (const { hostId, due } of busy) if (due) boundsOf(hostId).due = true
      const busyIds = new Set(busy.map(({ hostId }) => hostId))
      for (const [hostId, { front }] of known) front.found(busyIds.has(hostId), now)
      return busy.map(({ hostId, origin, ours }) => ({ hostId, origin, ours }))
    },

    /** Takes the host for this process if it is free. Empty: nothing to do there now, or another process has it. */
    async claimRepos(hostId: number, limit: number): Promise<ClaimedRepo[]> {
      if (!leased.has(hostId) && (await leaseHosts([hostId])).length === 0) return []
      const known = boundsOf(hostId)
      let claimed: ClaimedRepo[] = []
      if (known.due) {
        claimed = await claim('due', { hostId, limit })
        known.due = claimed.length === limit
      }
      if (claimed.length < limit) {
        const { after, lowerings } = known
        const waiting = await claim('waiting', { hostId, limit: limit - claimed.length, parameters: [after] })
        if (known.lowerings === lowerings) known.after = waiting.at(-1)?.id ?? known.after
        claimed = [...claimed, ...waiting]
      }
      return claimed
    },

    /** Repos that became claimable behind the bound are found at once, not at the next look from the front. */
    lookFromTheFront(hostId: number): void {
      bounds.delete(hostId)
    },

    /** Back to what they were; no attempt is counted. */
    async releaseClaims(claims: readonly Pick<ClaimedRepo, 'id' | 'claim'>[]): Promise<void> {
      if (claims.length === 0) return
      const values = [claims.map((repo) => repo.id), claims.map((repo) => repo.claim)]
      await giveBack({ statement: releaseEach, values })
      bounds.clear()
    },
  }
}

interface HostLook extends HostWithWork {
  due: boolean
  firstWaiting: number | null
  /** Nothing up to this id was passed over, but what was not committed yet. */
  newest: number | null
}

type ClaimKind = keyof typeof selects

interface ClaimWish {
  hostId: number
  limit: number
  /** From $6 on. */
  parameters?: unknown[]
}

const selects = {
  // Leans on repos_waiting. Compared as a row: with `host_id = $4 ... order by id` the planner may walk the primary key instead.
  waiting: `
  select id, state from repos
  where state = 'waiting' and host_id is not null and (host_id, id) > ($4::int, $6::bigint) and (host_id, id) < ($4::int + 1, 0)
  order by host_id, id limit $3 for update skip locked`,

  // Leans on repos_due.
  due: `
  select id, state from repos
  where state in ('retry', 'stale', 'failed') and host_id = $4 and retry_at <= now()
  order by host_id, retry_at limit $3 for update skip locked`,
}

/** Whoever does not have the host any more, or was taken for dead, claims nothing. Counted in the same statement, last. */
function claimSelected(select: string): string {
  return `
  with ours as (
    select pg_advisory_xact_lock($2::bigint) from host_leases l join processes p on p.id = l.process
    where l.host_id = $4::int and l.egress = p.egress and p.id = $1::bigint
  ),
  picked as (${select}),
  numbered as (select id, state, row_number() over (order by id) - 1 as n from picked where exists (select from ours)),
  claimed as (
    update repos r
    set state = 'working', claim = $2::bigint + n, retry_at = null
    from numbered
    where r.id = numbered.id
    returning r.id, r.did, r.claim::text, r.rev, r.host_id as "hostId", (select origin from hosts where id = $4::int) as host,
              r.signing_key as "signingKey", r.handle, r.attempts
  ),
  moves as (
    select 'repos/' || state as name, -count(*) as value from numbered group by state
    union all select 'repos/working', count(*) from numbered having count(*) > 0
  ),
  counted as (
    insert into counters as c (name, writer, value)
    select name, $5::int, value from moves, (select count(*) from claimed) as after_all order by name
    on conflict (name, writer) do update set value = c.value + excluded.value
  )
  select * from claimed`
}

const statements: Record<ClaimKind, string> = {
  waiting: claimSelected(selects.waiting),
  due: claimSelected(selects.due),
}

// $1, $2: hosts that were looked at and how far. repos_waiting, repos_due: one probe each.
const selectHostsWithWork = `
  select h.id as "hostId", h.origin, l.process is not distinct from $3 as ours, w.first_waiting as "firstWaiting", w.due, (select max(id) from repos) as newest
  from hosts h left join unnest($1::int[], $2::bigint[]) as b (id, after) on b.id = h.id
    left join host_leases l on l.host_id = h.id and l.egress = $4,
    lateral (
      select
        (select r.id from repos r
         where r.state = 'waiting' and r.host_id is not null
           and (r.host_id, r.id) > (h.id, coalesce(b.after, 0)) and (r.host_id, r.id) < (h.id + 1, 0)
         order by r.host_id, r.id limit 1) as first_waiting,
        (select true from repos r
         where r.state in ('retry', 'stale', 'failed') and r.host_id = h.id and r.retry_at <= now()
         order by r.retry_at limit 1) is true as due
    ) w
  where l.process is null or l.process = $3 or not exists (select from processes p where p.id = l.process)
  order by h.id`

interface Release {
  statement: string
  values: unknown[]
  /** The first token of a claim, which holds a lock of this number: if it is under way, its end is waited for. */
  afterClaim?: string
}

const backToWaiting = `
  update repos r
  set state = case when r.rev is null then 'waiting' else 'stale' end::repo_state,
      retry_at = case when r.rev is null then null else now() end, claim = null
  from old where r.id = old.id
  returning r.state`

const releaseEach = `
  with v (id, claim) as (select * from unnest($1::bigint[], $2::bigint[])),
  old as (select r.id from repos r join v on r.id = v.id and r.claim = v.claim where r.state = 'working' order by r.id for update of r)
  ${backToWaiting}`

const releaseRange = `
  with old as (select id from repos where state = 'working' and claim >= $1::bigint and claim < $2::bigint order by id for update)
  ${backToWaiting}`
