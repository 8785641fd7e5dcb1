// Accounts that a listing no longer has: which are to be asked for out, by host, and what their hosts answered in. A row goes in the
// transaction that acts on its answer, so that a kill in between asks once more.
import { CounterChanges, counterWriter } from './counters.ts'
import { ask, transact } from './database-transact.ts'
import type { Listed } from './listing.ts'
import type { RepoState } from './repo-states.ts'
import type { StateContext } from './state.ts'
import { writeRepos } from './state-discovery.ts'
import { moveRepos, type NamedHost } from './state-host-claims.ts'
import { step } from './steps.ts'

export interface UnlistedHost {
  hostId: number
  /** 'https://pds.example.com' */
  origin: string
}

export interface UnlistedRepo {
  repo: number
  did: string
}

/** `status`: as its host gives it. `moved`: its DID document names another host. `unclear`: the host knows no such question. */
export type UnlistedAnswer = UnlistedRepo &
  ({ status: Listed } | { moved: Omit<NamedHost, 'repo'> } | { unclear: true })

export function createUnlisted({ database, process, bounds }: StateContext) {
  const { pool } = database
  return {
    async unlistedHosts(): Promise<UnlistedHost[]> {
      const { rows } = await ask<UnlistedHost>(pool, selectHosts)
      return rows
    },

    /** By id, behind the one whose id is `after`. */
    async takeUnlisted(hostId: number, { after, limit }: { after: number; limit: number }): Promise<UnlistedRepo[]> {
      const values = [hostId, after, limit]
      const { rows } = await ask<UnlistedRepo>(pool, { name: 'unlisted-take', text: selectRepos, values })
      return rows
    },

    /** Of repos of one host. Gives how many are gone, and how many have moved. */
    async settleUnlisted(hostId: number, answers: readonly UnlistedAnswer[]): Promise<{ gone: number; moved: number }> {
      if (answers.length === 0) return { gone: 0, moved: 0 }
      const repos = answers.flatMap((answer) => ('status' in answer ? [answer.status] : []))
      const named = answers.flatMap((answer) => ('moved' in answer ? [{ repo: answer.repo, ...answer.moved }] : []))
      const unclear = answers.flatMap((answer) => ('unclear' in answer ? [answer.repo] : []))
      const settled = await transact(pool, async (client) => {
        const changes = new CounterChanges()
        const sorted = repos.toSorted((a, b) => (a.did < b.did ? -1 : 1))
        const { retired } = await writeRepos(client, { repos: sorted, hostId, homeId: hostId, changes })
        const { ids, hosts } = await moveRepos(client, named, changes)
        const { rows } = await client.query<{ state: RepoState }>(outdateUnclear, [unclear])
        changes.move('done', 'stale', rows.length)
        await client.query(deleteAsked, [hostId, answers.map(({ repo }) => repo)])
        await changes.write(client, counterWriter(process(), 1))
        step('before-answers-commit')
        return { gone: retired, moved: ids.length, hosts }
      })
      for (const id of settled.moved > 0 ? settled.hosts : []) bounds.delete(id) // claims have passed them
      return settled
    },
  }
}

const selectHosts = `
  select h.id as "hostId", h.origin from hosts h
  where exists (select from unlisted u where u.host_id = h.id)
  order by h.id`

// By the primary key.
const selectRepos = `
  select u.repo, r.did from unlisted u join repos r on r.id = u.repo
  where u.host_id = $1 and u.repo > $2 order by u.repo limit $3`

const outdateUnclear = `
  with old as (select id from repos where id = any($1) and state = 'done' order by id for update)
  update repos r set state = 'stale', stale_reason = 'unlisted', retry_at = now(), attempts = 0
  from old where r.id = old.id
  returning r.state`

const deleteAsked = `delete from unlisted where host_id = $1 and repo = any($2)`
