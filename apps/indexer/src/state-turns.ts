// The pace of requests other than getRepo, which any process may send: an origin and its pace in, how long to wait out. The next turn
// stands in the database, so that all processes behind one address keep a host's limit together, and a restart goes on where it was.
import { ask } from './database-transact.ts'
import type { RememberedLimits } from './host-leases.ts'
import { maxDelayMs } from './retry-policy.ts'
import type { StateContext } from './state.ts'

/** Nobody waits longer for a turn. */
export const longestTurnMs = maxDelayMs

export interface HostTurn {
  waitMs: number
  /** What the host has said of these requests, to whichever process. */
  limits: RememberedLimits | null
}

export function createTurns({ database: { pool }, tenure }: StateContext) {
  return {
    /**
     * Counted already, whatever becomes of it; but not past `longestTurnMs`: nobody waits for it, and each who asked would put it
     * off for the next.
     */
    async takeTurn(
      origin: string,
      { intervalMs, burstMs }: { intervalMs: number; burstMs: number },
    ): Promise<HostTurn> {
      const values = [origin, tenure.egress, intervalMs, burstMs, longestTurnMs]
      const taken = await ask<HostTurn>(pool, { name: 'turn', text: takeNext, values })
      const [turn] =
        taken.rows.length > 0 ? taken.rows : (await ask<HostTurn>(pool, lookAtNext(origin, tenure.egress))).rows
      if (turn === undefined) throw new Error('a turn that is not taken has its row')
      return turn
    },

    /** What was asked before the host said so counts at the new pace: the next request is due an interval from now. */
    async saveTurnLimits(origin: string, limits: RememberedLimits, intervalMs: number): Promise<void> {
      const values = [origin, tenure.egress, JSON.stringify(limits), intervalMs]
      await ask(pool, { text: saveLimits, values })
    },
  }
}

// A request is due at the pace's own time, or as much sooner as the burst allows, but not in the past.
const takeNext = `
  insert into host_turns as t (origin, egress, due_at)
  values ($1, $2, now() + $3::float8 * interval '1 millisecond')
  on conflict (origin, egress) do update
  set due_at = greatest(t.due_at, now() - $4::float8 * interval '1 millisecond') + $3::float8 * interval '1 millisecond'
  where t.due_at <= now() + $5::float8 * interval '1 millisecond'
  returning greatest(0, extract(epoch from due_at - now())::float8 * 1000 - $3::float8) as "waitMs", limits`

const lookAtNext = (origin: string, egress: string) => ({
  text: `
    select greatest(0, extract(epoch from due_at - now())::float8 * 1000) as "waitMs", limits
    from host_turns where origin = $1 and egress = $2`,
  values: [origin, egress],
})

const saveLimits = `
  update host_turns set limits = $3, due_at = greatest(due_at, now() + $4::float8 * interval '1 millisecond')
  where origin = $1 and egress = $2`
