// Waits until the scheduler lets a host be asked for something other than a repo: listings, statuses. In: the scheduler.
// Out: a function for `FetchContext.turn`. Repos do not come this way: their loop asks `next` itself.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Hosts } from './hosts.ts'

/** The returned function rejects with the signal's reason when that aborts. */
export function otherTurns(hosts: Hosts, signal: AbortSignal): (origin: string) => Promise<void> {
  return async (origin) => {
    for (let next = hosts.nextOther(origin); 'waitMs' in next; next = hosts.nextOther(origin)) {
      // Looked at again after a minute at the latest: what is known of a host may change while we wait.
      await sleep(Math.min(next.waitMs ?? longestWaitMs, longestWaitMs), undefined, { signal }).catch(() => undefined)
      if (signal.aborted) throw signal.reason
    }
  }
}

const longestWaitMs = 60_000
