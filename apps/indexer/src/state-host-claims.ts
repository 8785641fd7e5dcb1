// Accounts that two hosts list: claims of the second host in, what the DID document said of them out. Until it has said so a claim
// changes nothing, for whoever runs a host may list anybody's DID.
import type { PoolClient } from 'pg'
import { CounterChanges, counterWriter } from './counters.ts'
import { ask, transact } from './database-transact.ts'
import type { RepoState } from './repo-states.ts'
import type { StateContext } from './state.ts'
import { ensureHosts } from './state-hosts.ts'
import { showRepos } from './state-verdicts.ts'

export interface HostClaim {
  id: number
  repo: number
  did: string
}

export interface HostDecision {
  claim: HostClaim
  /** What the document says; undefined: it names no host, or there is none. */
  identity: { host: string; signingKey: string; handle: string | undefined } | undefined
}

/** What a host may have open and refuted in a day: so many questions to the PLC directory a liar costs. */
const maxClaimsOfHost = 20_000

/** Within the transaction of a page; gives how many were noted. */
export async function noteHostClaims(
  client: PoolClient,
  { dids, hostId }: { dids: readonly string[]; hostId: number },
): Promise<number> {
  await client.query({ name: 'claims-forget', text: forgetRefuted, values: [hostId] })
  const values = [dids, hostId, maxClaimsOfHost]
  const { rowCount } = await client.query({ name: 'claims-insert', text: insertClaims, values })
  return rowCount ?? 0
}

export function createHostClaims({ database, process, bounds }: StateContext) {
  return {
    /** Open ones of one DID method, in the order they came, behind the one whose id is `after`. */
    async takeHostClaims(after: number, { limit, isWeb }: { limit: number; isWeb: boolean }): Promise<HostClaim[]> {
      const values = [after, limit, isWeb]
      const { rows } = await ask<HostClaim>(database.pool, { name: 'claims', text: selectOpen, values })
      return rows
    },

    /** Moves those repos whose document names another host than ours; gives how many. */
    async decideHostClaims(decisions: readonly HostDecision[]): Promise<number> {
      if (decisions.length === 0) return 0
      const named = decisions.flatMap(({ claim, identity }) => (identity ? [{ repo: claim.repo, ...identity }] : []))
      const { moved, hosts } = await transact(database.pool, async (client) => {
        const changes = new CounterChanges()
        const { ids, hosts } = await moveRepos(client, named, changes)
        const claims = decisions.map(({ claim }) => claim.id)
        await client.query({ name: 'claims-end', text: endClaims, values: [ids] })
        await client.query({ name: 'claims-refute', text: refuteClaims, values: [claims] })
        await changes.write(client, counterWriter(process(), 1))
        return { moved: ids.length, hosts }
      })
      if (moved > 0) for (const hostId of hosts) bounds.delete(hostId) // claims have passed them
      return moved
    },
  }
}

export type NamedHost = NonNullable<HostDecision['identity']> & { repo: number }

/** Those whose documents name another host than ours wait there from now on. Gives the ones that moved, and the hosts of all. */
export async function moveRepos(
  client: PoolClient,
  named: readonly NamedHost[],
  changes: CounterChanges,
): Promise<{ ids: number[]; hosts: number[] }> {
  if (named.length === 0) return { ids: [], hosts: [] }
  const hosts = await ensureHosts(
    client,
    named.map(({ host }) => host),
  )
  const values = [
    named.map(({ repo }) => repo),
    hosts,
    named.map(({ signingKey }) => signingKey),
    named.map(({ handle }) => handle ?? null),
  ]
  const { rows } = await client.query<Moved>({ name: 'repos-move', text: moveNamed, values })
  for (const { was, state } of rows) changes.move(was, state)
  await showRepos(client, rows)
  return { ids: rows.map(({ id }) => id), hosts }
}

type Moved = { id: number; was: RepoState; state: RepoState }

const forgetRefuted = `delete from host_claims where host_id = $1 and refuted_at < now() - interval '1 day'`

const insertClaims = `
  insert into host_claims (host_id, repo)
  select $2::int, id from repos where did = any($1::text[])
  order by id limit greatest(0, $3::int - (select count(*) from host_claims where host_id = $2::int))
  on conflict (host_id, repo) do nothing`

// Leans on host_claims_open.
const selectOpen = `
  select c.id, c.repo, r.did from host_claims c join repos r on r.id = c.repo
  where c.refuted_at is null and c.id > $1 and starts_with(r.did, 'did:web:') = $3 order by c.id limit $2`

/** A repo that is being fetched is left alone: its claim stays open. */
const moveNamed = `
  with v (id, host_id, signing_key, handle) as (select distinct on (id) * from unnest($1::bigint[], $2::int[], $3::text[], $4::text[]) as u (id, host_id, signing_key, handle)),
  old as (
    select r.id, r.state, r.rev, v.host_id, v.signing_key, v.handle from repos r join v using (id)
    where r.state <> 'working' and r.host_id is distinct from v.host_id order by r.id for update of r
  )
  update repos r
  set host_id = old.host_id, signing_key = old.signing_key, handle = old.handle, resolved_at = now(), attempts = 0,
      status = null, error_code = null, error_message = null,
      state = case when old.rev is null then 'waiting' else 'stale' end::repo_state,
      stale_reason = case when old.rev is not null then 'moved' end, retry_at = case when old.rev is not null then now() end
  from old where r.id = old.id
  returning r.id, old.state as was, r.state`

const endClaims = `delete from host_claims where repo = any($1::bigint[])`

const refuteClaims = `
  update host_claims c set refuted_at = now()
  from repos r where r.id = c.repo and c.id = any($1::bigint[]) and r.state <> 'working'`
