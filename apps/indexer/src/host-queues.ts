// Claims that wait for a turn of their host: repos of the database in, one repo a turn out, and to the scheduler which hosts
// have work. Bounded: at most one batch for each host that is being asked.
import type { Hosts } from './hosts.ts'
import type { Log } from './log.ts'
import { failedRetryAt, patienceMs, type RetryPolicy } from './retry-policy.ts'
import type { ClaimedRepo, State } from './state.ts'

/**
 * Repos claimed at once for a host: one round trip for many. A host that uses up its claims within `soonMs` gets twice as many
 * the next time, and half of them when they last; what is claimed and not asked for is given back at the end.
 */
const minClaimBatch = 64
const maxClaimBatch = 512
const soonMs = 5_000

export interface HostQueuesContext {
  state: State
  hosts: Hosts
  log: Log
  retry: RetryPolicy
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

  constructor(context: HostQueuesContext) {
    this.#context = context
  }

  isEmpty(): boolean {
    return this.#waiting.size === 0 && this.#claiming.size === 0
  }

  /** Tells the scheduler which hosts have repos that wait or are due again. */
  async lookForWork(): Promise<void> {
    const { state, hosts, retry } = this.#context
    const diedBeforeMs = Date.now() - patienceMs(retry)
    // One repo that fails and is tried again does not make its host dead: only failures in a row do, which cool it down.
    const failing = hosts.describe().filter((host) => host.state !== 'ok')
    const dead = new Map(failing.map(({ origin, deadSinceMs }) => [origin, deadSinceMs]))
    for (const { hostId, origin } of await state.hostsWithWork()) {
      this.#hostIds.set(origin, hostId)
      const deadSinceMs = dead.get(origin)
      const isDead = deadSinceMs !== undefined && deadSinceMs < diedBeforeMs
      if (isDead && (this.#gaveUpAtMs.get(origin) ?? 0) < diedBeforeMs)
        await this.#giveUp({ hostId, origin, deadSinceMs })
      else hosts.setWork(origin, true)
    }
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
    const { state, hosts, log } = this.#context
    const claims = this.#waiting.get(origin) ?? []
    this.#waiting.delete(origin)
    await state.releaseClaims(claims)
    const message = `${origin} has not answered since ${new Date(deadSinceMs).toISOString()}`
    const repos = await state.failHost(hostId, { code: 'HostDead', message, retryAt: failedRetryAt() })
    hosts.setWork(origin, false)
    this.#gaveUpAtMs.set(origin, Date.now())
    log.warn({ host: origin, repos }, 'a host is dead: its repos have failed')
  }

  /** The next repo of a host; `undefined` when it has none. */
  async take(origin: string): Promise<ClaimedRepo | undefined> {
    for (;;) {
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
    if (waiting?.length === 0) this.#waiting.delete(origin)
    return claim
  }

  /** One at a time for a host. What it finds decides in the same breath whether the host has work. */
  #claim(origin: string, hostId: number): Promise<number> {
    const { state, hosts } = this.#context
    const size = this.#nextBatch(origin)
    const claiming = state
      .claimRepos(hostId, size)
      .then((claims) => {
        if (claims.length > 0) this.#waiting.set(origin, claims.reverse())
        if (claims.length < size) this.#batches.delete(origin)
        hosts.setWork(origin, claims.length > 0)
        return claims.length
      })
      .finally(() => this.#claiming.delete(origin))
    this.#claiming.set(origin, claiming)
    return claiming
  }

  #nextBatch(origin: string): number {
    const last = this.#batches.get(origin)
    const atMs = Date.now()
    const wanted = last === undefined ? minClaimBatch : atMs - last.atMs < soonMs ? last.size * 2 : last.size / 2
    const size = Math.min(maxClaimBatch, Math.max(minClaimBatch, wanted))
    this.#batches.set(origin, { size, atMs })
    return size
  }

  /** At the end of a run: what was claimed and never asked for waits again. */
  async releaseAll(): Promise<void> {
    const claims = [...this.#waiting.values()].flat()
    this.#waiting.clear()
    if (claims.length > 0) await this.#context.state.releaseClaims(claims)
  }
}
