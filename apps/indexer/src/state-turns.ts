// The pace of requests other than getRepo, which any process may send: an origin and its pace in, how long to wait out. The next turn
// stands in the database, so that all processes behind one address keep a host's limit together, and a restart goes on where it was.
import { ask } from './database-transact.ts'
import type { RememberedLimits } from './host-leases.ts'
import type { StateContext } from './state.ts'

export interface HostTurn {
  waitMs: number
  /** What the host has said of these requests, to whichever process. */
  limits: RememberedLimits | null
}

export function createTurns({ database: { pool }, tenure }: StateContext) {
  return {
    /** Counted already, whatever becomes of it. */
    async takeTurn(origin: string, pace: { intervalMs: number; burstMs: number }): Promise<HostTurn> {
      const values = [origin, tenure.egress, pace.intervalMs, pace.burstMs]
      const { rows } = await ask<HostTurn>(pool, { name: 'turn', text: takeNext, values })
      const [turn] = rows
      if (turn === undefined) throw new Error('an upsert returns its row')
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
  returning greatest(0, extract(epoch from due_at - now())::float8 * 1000 - $3::float8) as "waitMs", limits`

const saveLimits = `
  update host_turns set limits = $3, due_at = greatest(due_at, now() + $4::float8 * interval '1 millisecond')
  where origin = $1 and egress = $2`
