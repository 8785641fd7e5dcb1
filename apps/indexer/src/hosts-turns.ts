// Waits until a host may be asked for something other than a repo: listings, statuses. In: the scheduler, and the turns that all
// processes behind an address share. Out: what a `FetchContext` wants of its pace. Repos do not come this way: their loop asks `next`.
import { setTimeout as sleep } from 'node:timers/promises'
import { IndexerError } from './errors.ts'
import type { FetchContext } from './fetch-xrpc.ts'
import type { Hosts } from './hosts.ts'
import { asLimits, fromLimits } from './hosts-memory.ts'
import type { State } from './state.ts'
import { longestTurnMs } from './state-turns.ts'
import { steadyNow } from './steady-clock.ts'

export interface OtherTurnsOptions {
  signal: AbortSignal
  state: Pick<State, 'takeTurn' | 'saveTurnLimits'>
}

/** `turn` rejects with the signal's reason when that aborts. */
export function otherTurns(
  hosts: Hosts,
  options: OtherTurnsOptions,
): Required<Pick<FetchContext, 'turn' | 'onResponse'>> {
  const turns = new OtherTurns(hosts, options)
  return {
    turn: (origin) => turns.wait(origin),
    onResponse: (seen) => {
      hosts.seen(seen)
      if (seen.kind === 'other') turns.tell(seen.origin)
    },
  }
}

/** As if it had said so again: whoever wants to ask it decides what becomes of that. */
function leftAlone(origin: string, waitMs: number): IndexerError {
  const retryAtMs = Date.now() + waitMs
  const message = `${origin} wants to be left alone until ${new Date(retryAtMs).toISOString()}`
  return new IndexerError('RateLimited', message, { details: { retryAtMs } })
}

const longestWaitMs = 60_000
/** Until a host has answered, one request finds out what it allows; the others wait for that, but not longer. */
const firstAnswerMs = 2_000
const lookAgainMs = 20
/** What is remembered of more hosts is forgotten and read again. */
const maxOrigins = 20_000

class OtherTurns {
  readonly #hosts: Hosts
  readonly #options: OtherTurnsOptions
  /** By origin, what the database has, as far as we know. */
  readonly #known = new Map<string, string>()

  /** When it was asked first; 0 once it has answered. */
  readonly #askedMs = new Map<string, number>()

  constructor(hosts: Hosts, options: OtherTurnsOptions) {
    this.#hosts = hosts
    this.#options = options
  }

  async wait(origin: string): Promise<void> {
    await this.#firstAnswer(origin)
    const waitMs = await this.#reserve(origin)
    if (waitMs > longestTurnMs) throw leftAlone(origin, waitMs)
    await this.#sleep(waitMs)
    // Our own requests obey a cool-down and what an answer has said meanwhile.
    for (let next = this.#hosts.nextOther(origin); 'waitMs' in next; next = this.#hosts.nextOther(origin)) {
      if (next.waitMs !== undefined && next.waitMs > longestTurnMs) throw leftAlone(origin, next.waitMs)
      // Looked at again after a minute at the latest: what is known of a host may change while we wait.
      await this.#sleep(Math.min(next.waitMs ?? longestWaitMs, longestWaitMs))
    }
  }

  async #firstAnswer(origin: string): Promise<void> {
    const askedMs = this.#askedMs.get(origin)
    if (askedMs === undefined) {
      if (this.#askedMs.size >= maxOrigins) this.#askedMs.clear()
      this.#askedMs.set(origin, steadyNow())
      return
    }
    while (steadyNow() < (this.#askedMs.get(origin) ?? 0) + firstAnswerMs) await this.#sleep(lookAgainMs)
  }

  /** What the host has said is told to the other processes, and to those after us. */
  tell(origin: string): void {
    if (this.#askedMs.has(origin)) this.#askedMs.set(origin, 0) // it has answered
    const before = this.#known.get(origin)
    if (before === undefined) return
    const { known, intervalMs } = this.#hosts.paceOfOther(origin)
    const limits = asLimits(known)
    const after = JSON.stringify(limits)
    if (after === before) return
    this.#known.set(origin, after)
    // A database that is gone stops the run elsewhere.
    this.#options.state.saveTurnLimits(origin, limits, intervalMs).catch(() => this.#known.delete(origin))
  }

  /** A turn taken at a pace that others know better, or have learned meanwhile, is taken once more. */
  async #reserve(origin: string): Promise<number> {
    const pace = this.#hosts.paceOfOther(origin)
    const { waitMs, limits } = await this.#options.state.takeTurn(origin, pace)
    const known = fromLimits(limits ?? {})
    const said = JSON.stringify(asLimits(known)) // jsonb has an order of its own
    if (this.#known.get(origin) !== said) {
      if (this.#known.size >= maxOrigins) this.#known.clear()
      this.#known.set(origin, said)
      this.#hosts.restoreOther(origin, known)
    }
    const next = this.#hosts.paceOfOther(origin)
    return next.intervalMs <= pace.intervalMs ? waitMs : (await this.#options.state.takeTurn(origin, next)).waitMs
  }

  async #sleep(ms: number): Promise<void> {
    const { signal } = this.#options
    if (ms >= 1) await sleep(ms, undefined, { signal }).catch(() => undefined)
    if (signal.aborted) throw signal.reason
  }
}
