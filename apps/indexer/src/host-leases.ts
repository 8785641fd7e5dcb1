// Which hosts this process may ask: hosts in, those that are leased to it out, with what is known of them.
// A host has one asker per egress, so its limits for an address hold. A lease stays until it is given away or its process ends.
import { ask, transact } from './database-transact.ts'
import type { StateContext } from './state.ts'
import { step } from './steps.ts'

/** A host as the table `hosts` remembers it. */
export interface RememberedHost {
  hostId: number
  origin: string
  coolUntil: Date | null
  limits: RememberedLimits | null
}

/** Times as text, for people who look. */
export interface RememberedLimits {
  limit?: number
  windowMs?: number
  deadSince?: string
  notBefore?: string
  slowed?: { scale: number; at: string }
}

export function createHostLeases({ database: { pool }, tenure, leased }: StateContext) {
  let isIdle = false
  let idleProcess = 0

  return {
    /** Takes those that nobody has; gives the ones that were taken. */
    async leaseHosts(hostIds: readonly number[]): Promise<RememberedHost[]> {
      if (hostIds.length === 0) return []
      const { process } = tenure
      const { rows } = await ask<RememberedHost>(pool, { text: insertLeases, values: [process, hostIds] })
      if (tenure.process === process) for (const { hostId } of rows) leased.add(hostId)
      step('after-host-lease')
      return rows
    },

    /** Other processes may ask them from now on. Their claims must have been settled or released. */
    async dropHosts(hostIds: readonly number[]): Promise<void> {
      step('before-host-drop')
      for (const hostId of hostIds) leased.delete(hostId)
      await ask(pool, {
        text: `delete from host_leases where host_id = any($1) and egress = $2 and process = $3`,
        values: [hostIds, tenure.egress, tenure.process],
      })
    },

    /**
     * Gives back a host that does not answer us and that a living process behind another address has too: the last one that has it
     * decides whether it is dead. False when that is us.
     */
    async leaveToOthers(hostId: number): Promise<boolean> {
      const values = [hostId, tenure.egress, tenure.process]
      const left = await transact(pool, async (client) => {
        await client.query(`select from hosts where id = $1 for no key update`, [hostId]) // one after the other
        return (await client.query(leaveLease, values)).rowCount === 1
      })
      if (left) leased.delete(hostId)
      return left
    },

    /** For who is done with asking while its process goes on: others may ask all of its hosts. */
    async dropAllHosts(): Promise<void> {
      leased.clear()
      const text = `delete from host_leases where process = $1`
      await ask(pool, { text, values: [tenure.process] })
    },

    /** Tells the others that we find no host to ask. */
    async setIdle(idle: boolean): Promise<void> {
      const { process } = tenure
      if (idle === isIdle && process === idleProcess) return
      const text = `update processes set idle_since = case when $2 then now() end where id = $1`
      await ask(pool, { text, values: [process, idle] })
      isIdle = idle
      idleProcess = process
    },

    /** Live processes with our egress that find no host to ask. */
    async idlePeers(): Promise<number> {
      const values = [tenure.process, tenure.egress]
      const { rows } = await ask<{ peers: number }>(pool, { name: 'idle-peers', text: countIdle, values })
      return rows[0]?.peers ?? 0
    },
  }
}

// In the order of ids, so that two processes cannot deadlock. A lease of ours counts as taken: the statement may run twice.
const insertLeases = `
  with taken as (
    insert into host_leases as l (host_id, egress, process)
    select v.id, p.egress, p.id from unnest($2::int[]) as v (id), processes p where p.id = $1::bigint order by v.id
    on conflict (host_id, egress) do update set process = excluded.process, taken_at = now()
    where l.process = excluded.process or not exists (select from processes p where p.id = l.process)
    returning host_id
  )
  select h.id as "hostId", h.origin, h.cool_until as "coolUntil", h.limits from taken join hosts h on h.id = taken.host_id`

const isAlive = `beat_at > now() - dead_after_ms * interval '1 millisecond'`

const leaveLease = `
  delete from host_leases where host_id = $1 and egress = $2 and process = $3 and exists (
    select from host_leases l join processes p on p.id = l.process where l.host_id = $1 and l.egress <> $2 and ${isAlive}
  )`

const countIdle = `
  select count(*)::int as peers from processes
  where id <> $1 and egress = $2 and idle_since is not null and ${isAlive}`
