// Claims that wait for a turn of their host: repos of the database in, one repo a turn out, and to the scheduler which hosts
// have work. Only hosts that are leased to this process are asked; all claims that wait are bounded together.
import { HostHandover } from './host-handover.ts'
import type { Hosts } from './hosts.ts'
import { restored } from './hosts-memory.ts'
import type { Log } from './log.ts'
import { failedRetryAt, patienceMs, type RetryPolicy } from './retry-policy.ts'
import type { ClaimedRepo, State } from './state.ts'
import type { HostWithWork } from './state-claims.ts'
import { steadyNow, wallTime } from './steady-clock.ts'

/**
 * Repos claimed at once for a host: one round trip for many. A host that uses up its claims within `soonMs` gets twice as many
 * the next time, and half of them when they last; what is claimed and not asked for is given back at the end.
 */
const minClaimBatch = 64
const maxClaimBatch = 512
const soonMs = 5_000
/** Claims of all hosts together that wait for a turn; some 300 bytes each. Past it a host gets one at a time. */
const maxWaiting = 16_384
/**
 * Hosts leased at one look: the first of several processes should not have them all before the next one begins. Of very many an eighth:
 * a look at 200,000 takes a second and is six seconds apart from the next, so that 64 hosts of one repo each made eleven repos a second.
 */
const minLeaseBatch = 64
const leaseShare = 1 / 8
const maxLeaseBatch = 4096

export interface HostQueuesContext {
  state: State
  hosts: Hosts
  log: Log
  retry: RetryPolicy
  /** Writes down what is known of hosts. */
  saveHosts: () => Promise<void>
}

export class HostQueues {
  readonly #context: HostQueuesContext
  readonly #waiting = new Map<string, ClaimedRepo[]>()
  readonly #claiming = new Map<string, Promise<number>>()
  /** The last claim of a host. */
  readonly #batches = new Map<string, { size: number; atMs: number }>()
  readonly #hostIds = new Map<string, number>()
  /** Dead hosts, probed from then on until the same patience is over again. */
  readonly #gaveUpAtMs = new Map<string, number>()
  readonly #handover: HostHandover
  /** Whose claims wait here. */
  #process: number
  #waitingRepos = 0

  constructor(context: HostQueuesContext) {
    this.#context = context
    this.#process = context.state.process
    this.#handover = new HostHandover({ ...context, releaseClaims: (origins) => this.#release(origins) })
  }

  isEmpty(): boolean {
    return this.#waiting.size === 0 && this.#claiming.size === 0
  }

  /** Tells the scheduler which hosts have repos that wait or are due again; false when there are none for this process. */
  async lookForWork(): Promise<boolean> {
    const { state, hosts, retry } = this.#context
    this.#dropIfLost()
    const diedBeforeMs = steadyNow() - patienceMs(retry)
    // One repo that fails and is tried again does not make its host dead: only failures in a row do, which cool it down. One
    // that was dead before a restart may be back: it is asked once before it is given up.
    const failing = hosts.describe().filter((host) => host.state !== 'ok' && host.failedHere)
    const dead = new Map(failing.map(({ origin, deadSinceMs }) => [origin, deadSinceMs]))
    const held = await this.#leaseFree(
      (await state.hostsWithWork()).filter(({ origin }) => !this.#handover.isAway(origin)),
    )
    await this.#handover.look(held)
    for (const { hostId, origin } of held) {
      if (this.#handover.isAway(origin)) continue
      this.#hostIds.set(origin, hostId)
      const deadSinceMs = dead.get(origin)
      const isDead = deadSinceMs !== undefined && deadSinceMs < diedBeforeMs
      if (isDead && (this.#gaveUpAtMs.get(origin) ?? 0) < diedBeforeMs)
        await this.#giveUp({ hostId, origin, deadSinceMs })
      else hosts.setWork(origin, true)
    }
    return held.length > 0
  }

  /** Those that are ours, with some that were nobody's. */
  async #leaseFree(found: readonly HostWithWork[]): Promise<HostWithWork[]> {
    const { state, hosts } = this.#context
    const free = found.filter(({ ours }) => !ours)
    const count = Math.min(maxLeaseBatch, Math.max(minLeaseBatch, Math.ceil(free.length * leaseShare)))
    const taken = await state.leaseHosts(free.slice(0, count).map(({ hostId }) => hostId))
    for (const host of taken) hosts.restore({ ...restored(host), takenOver: true })
    const takenIds = new Set(taken.map(({ hostId }) => hostId))
    return found.filter(({ hostId, ours }) => ours || takenIds.has(hostId))
  }

  /** Who was taken for dead has neither hosts nor claims any more. */
  #dropIfLost(): void {
    if (this.#process === this.#context.state.process) return
    this.#process = this.#context.state.process
    for (const origin of this.#hostIds.keys()) this.#context.hosts.setWork(origin, false)
    this.#waiting.clear()
    this.#waitingRepos = 0
    this.#handover.forget()
  }

  /** Repos of a host that has been dead for as long as a repo's retries take fail together, not one probe at a time. */
  async #giveUp({
    hostId,
    origin,
    deadSinceMs,
  }: {
    hostId: number
    origin: string
    deadSinceMs: number
  }): Promise<void> {
    const { state, hosts, log, retry } = this.#context
    await this.#release([origin])
    if (await state.leaveToOthers(hostId)) {
      hosts.setWork(origin, false)
      this.#handover.keepAway(origin, steadyNow() + patienceMs(retry))
      log.warn({ host: origin }, 'a host does not answer this process: it is left to those behind another address')
      return
    }
    const message = `${origin} has not answered since ${new Date(wallTime(deadSinceMs)).toISOString()}`
    const repos = await state.failHost(hostId, { code: 'HostDead', message, retryAt: failedRetryAt() })
    hosts.setWork(origin, false)
    this.#gaveUpAtMs.set(origin, steadyNow())
    log.warn({ host: origin, repos }, 'a host is dead: its repos have failed')
  }

  /** The next repo of a host; `undefined` when it has none. */
  async take(origin: string): Promise<ClaimedRepo | undefined> {
    for (;;) {
      this.#dropIfLost()
      if (this.#handover.isAway(origin)) return undefined
      const claim = this.#pop(origin)
      if (claim) return claim
      const hostId = this.#hostIds.get(origin)
      if (hostId === undefined) return undefined
      const claiming = this.#claiming.get(origin) ?? this.#claim(origin, hostId)
      if ((await claiming) === 0) return undefined
    }
  }

  #pop(origin: string): ClaimedRepo | undefined {
    const waiting = this.#waiting.get(origin)
    const claim = waiting?.pop()
    if (claim) this.#waitingRepos--
    if (waiting?.length === 0) this.#waiting.delete(origin)
    return claim
  }

  /** One at a time for a host. What it finds decides in the same breath whether the host has work. */
  #claim(origin: string, hostId: number): Promise<number> {
    const { state, hosts } = this.#context
    const { process } = state
    const size = this.#nextBatch(origin)
    const claiming = state
      .claimRepos(hostId, size)
      .then(async (claims) => {
        if (process !== state.process) {
          await state.releaseClaims(claims) // some may be under our new number, and nobody else would
          return 0
        }
        if (claims.length > 0) this.#waiting.set(origin, claims.reverse())
        if (claims.length < size) this.#batches.delete(origin)
        this.#waitingRepos += claims.length
        hosts.setWork(origin, claims.length > 0 && !this.#handover.isAway(origin))
        return claims.length
      })
      .finally(() => this.#claiming.delete(origin))
    this.#claiming.set(origin, claiming)
    return claiming
  }

  #nextBatch(origin: string): number {
    const last = this.#batches.get(origin)
    const atMs = steadyNow()
    const wanted = last === undefined ? minClaimBatch : atMs - last.atMs < soonMs ? last.size * 2 : last.size / 2
    const size = Math.min(maxClaimBatch, Math.max(minClaimBatch, wanted))
    this.#batches.set(origin, { size, atMs })
    return Math.max(1, Math.min(size, maxWaiting - this.#waitingRepos))
  }

  async #release(origins: readonly string[]): Promise<void> {
    const claims = origins.flatMap((origin) => this.#waiting.get(origin) ?? [])
    for (const origin of origins) this.#waiting.delete(origin)
    this.#waitingRepos -= claims.length
    await this.#context.state.releaseClaims(claims)
  }

  /** At the end of a run: what was claimed and never asked for waits again. */
  releaseAll(): Promise<void> {
    return this.#release([...this.#waiting.keys()])
  }
}
