// Fair shares of hosts among processes: when another one finds no host to ask, half of ours go to it, those with the least
// under way first. In: the hosts that we have and that have work. Out: leases that are given back, once nothing is in flight there.
// One host cannot be split: its limits are for the address, and two processes would each take all of them.
import type { Hosts } from './hosts.ts'
import type { Log } from './log.ts'
import type { State } from './state.ts'
import type { HostWithWork } from './state-claims.ts'
import { steadyNow } from './steady-clock.ts'

/** The others are looked after this often. */
const lookEveryMs = 1_000
/** What was given away is not taken back for so long: time for the other one to take it. */
const keepAwayMs = 10_000

export interface HandoverContext {
  state: Pick<State, 'idlePeers' | 'dropHosts'>
  hosts: Hosts
  log: Log
  /** Writes down what is known of hosts; the next one goes on from there. */
  saveHosts: () => Promise<void>
  /** Gives back the claims of these hosts that nobody has asked for yet. */
  releaseClaims: (origins: readonly string[]) => Promise<void>
}

export class HostHandover {
  readonly #context: HandoverContext
  readonly #leaving = new Map<string, number>()
  readonly #awayUntilMs = new Map<string, number>()
  #lookAtMs = 0

  constructor(context: HandoverContext) {
    this.#context = context
  }

  /** Given away, or about to be: not to be asked. */
  isAway(origin: string): boolean {
    return this.#leaving.has(origin) || (this.#awayUntilMs.get(origin) ?? 0) > steadyNow()
  }

  /** `held`: ours, and with work. */
  async look(held: readonly HostWithWork[]): Promise<void> {
    await this.#letGo()
    if (held.length < 2 || steadyNow() < this.#lookAtMs) return
    this.#lookAtMs = steadyNow() + lookEveryMs
    const peers = await this.#context.state.idlePeers()
    if (peers === 0) return
    // A host that pauses is of no use to the other one.
    const paused = this.#paused()
    const asked = held.filter(({ origin }) => !paused.has(origin))
    const count = Math.floor((asked.length * peers) / (peers + 1))
    if (count === 0) return
    const inFlight = this.#inFlight()
    const least = asked.toSorted((a, b) => (inFlight.get(a.origin) ?? 0) - (inFlight.get(b.origin) ?? 0))
    for (const { origin, hostId } of least.slice(0, count)) {
      this.#leaving.set(origin, hostId)
      this.#context.hosts.setWork(origin, false)
    }
    this.#context.log.info({ hosts: count, peers }, 'hosts go to processes that have none to ask')
    await this.#letGo()
  }

  /** Given back already, and not to be taken again before `untilMs`. */
  keepAway(origin: string, untilMs: number): void {
    this.#awayUntilMs.set(origin, untilMs)
  }

  /** Everything that was held is others' by now. */
  forget(): void {
    this.#leaving.clear()
    this.#awayUntilMs.clear()
  }

  /** Those that nothing is in flight to. */
  async #letGo(): Promise<void> {
    for (const [origin, untilMs] of this.#awayUntilMs) if (untilMs < steadyNow()) this.#awayUntilMs.delete(origin)
    if (this.#leaving.size === 0) return
    const { state, saveHosts, releaseClaims } = this.#context
    const inFlight = this.#inFlight()
    const quiet = [...this.#leaving].filter(([origin]) => (inFlight.get(origin) ?? 0) === 0)
    if (quiet.length === 0) return
    await saveHosts()
    await releaseClaims(quiet.map(([origin]) => origin))
    await state.dropHosts(quiet.map(([, hostId]) => hostId))
    for (const [origin] of quiet) {
      this.#awayUntilMs.set(origin, steadyNow() + keepAwayMs)
      this.#leaving.delete(origin)
    }
  }

  #paused(): Set<string> {
    const paused = this.#context.hosts.describe().filter((host) => host.notBeforeMs !== undefined)
    return new Set(paused.map(({ origin }) => origin))
  }

  #inFlight(): Map<string, number> {
    return new Map(this.#context.hosts.describe().map((host) => [host.origin, host.inFlight + host.huge]))
  }
}
