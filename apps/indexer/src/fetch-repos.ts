// Keeps every host as busy as it allows: takes turns from the scheduler, claims repos for them, and runs `indexRepo`.
// Input: resolved repos that wait; output: their outcomes in the database. The surprise: a turn ends when the rows are
// handed to the writer, not when they are committed, because a transaction carries many repos.
import { errorClass, IndexerError } from './errors.ts'
import type { Hosts } from './hosts.ts'
import { type IndexContext, indexRepo } from './index-repo.ts'
import type { Log } from './log.ts'
import { failedRetryAt, patienceMs, type RetryPolicy, retryAt } from './retry-policy.ts'
import type { RunMetrics } from './run-metrics.ts'
import type { ClaimedRepo, State } from './state.ts'
import { Wakeup } from './wakeup.ts'

/** Repos claimed at once for a host: one round trip for many, few enough that another process finds work too. */
const claimBatch = 64
/** Finished repos whose transaction is still to come; past this nothing new is fetched. */
const maxUnwritten = 4000
/** New fetches wait above this share of the memory limit, so that those under way need not go to the disk. */
const busyShare = 0.75
/** The database is asked for hosts with work this often, or so rarely that it costs at most a twentieth of the time. */
const minLookForWorkMs = 200

export interface FetchContext {
  state: State
  hosts: Hosts
  index: IndexContext
  metrics: RunMetrics
  log: Log
  retry: RetryPolicy
  signal: AbortSignal
  /** False once no repo can become due any more: then the stage ends when nothing is in flight. */
  moreToCome: () => Promise<boolean>
}

export async function fetchRepos(context: FetchContext): Promise<void> {
  const { hosts, index, signal } = context
  const queues = new HostQueues(context)
  const wakeup = new Wakeup()
  const inFlight = new Set<Promise<void>>()
  const unwritten = new Set<Promise<void>>()
  let failure: unknown
  const track = (set: Set<Promise<void>>, work: Promise<void>): void => {
    const tracked = work
      .catch((error: unknown) => {
        failure ??= error
      })
      .finally(() => {
        set.delete(tracked)
        wakeup.wake()
      })
    set.add(tracked)
  }
  try {
    let lookAtMs = 0
    for (;;) {
      signal.throwIfAborted()
      if (failure) throw failure
      if (Date.now() >= lookAtMs) {
        const startedMs = Date.now()
        await queues.lookForWork()
        lookAtMs = Date.now() + Math.max(minLookForWorkMs, (Date.now() - startedMs) * 20)
      }
      const full = index.budget.heldBytes > index.budget.limitBytes * busyShare || unwritten.size >= maxUnwritten
      const turn = full ? { waitMs: undefined } : hosts.next()
      if ('origin' in turn) {
        track(
          inFlight,
          queues.take(turn.origin).then(async (claim) => {
            if (!claim) return hosts.finished(turn.origin, 'unused')
            const written = await fetchOne(claim, context)
            if (written) track(unwritten, written)
          }),
        )
        continue
      }
      if (inFlight.size + unwritten.size === 0 && queues.isEmpty() && !(await context.moreToCome())) return
      await wakeup.wait(Math.min(turn.waitMs ?? minLookForWorkMs, Math.max(1, lookAtMs - Date.now())), signal)
    }
  } finally {
    await Promise.allSettled(inFlight)
    await Promise.allSettled(unwritten)
    await queues.releaseAll()
  }
}

/** Claims that wait for a turn of their host. Bounded: at most one batch per host that is being asked. */
class HostQueues {
  readonly #context: FetchContext
  readonly #waiting = new Map<string, ClaimedRepo[]>()
  readonly #claiming = new Map<string, Promise<number>>()
  readonly #hostIds = new Map<string, number>()
  /** Dead hosts, probed from then on until the same patience is over again. */
  readonly #gaveUpAtMs = new Map<string, number>()

  constructor(context: FetchContext) {
    this.#context = context
  }

  isEmpty(): boolean {
    return this.#waiting.size === 0 && this.#claiming.size === 0
  }

  /** Tells the scheduler which hosts have repos that wait or are due again. */
  async lookForWork(): Promise<void> {
    const { state, hosts, retry } = this.#context
    const diedBeforeMs = Date.now() - patienceMs(retry)
    const dead = new Map(hosts.describe().map(({ origin, deadSinceMs }) => [origin, deadSinceMs]))
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
    const claiming = state
      .claimRepos(hostId, claimBatch)
      .then((claims) => {
        if (claims.length > 0) this.#waiting.set(origin, claims.reverse())
        hosts.setWork(origin, claims.length > 0)
        return claims.length
      })
      .finally(() => this.#claiming.delete(origin))
    this.#claiming.set(origin, claiming)
    return claiming
  }

  /** At the end of a run: what was claimed and never asked for waits again. */
  async releaseAll(): Promise<void> {
    const claims = [...this.#waiting.values()].flat()
    this.#waiting.clear()
    if (claims.length > 0) await this.#context.state.releaseClaims(claims)
  }
}

/** One repo, whatever happens to it; what is left to wait for is the commit of its rows. Throws only what stops the run. */
async function fetchOne(claim: ClaimedRepo, context: FetchContext): Promise<Promise<void> | undefined> {
  const { hosts, metrics, log } = context
  const startedMs = performance.now()
  try {
    const indexed = await indexRepo(claim, context.index)
    hosts.finished(claim.host, 'ok')
    const { rows, rejected, spilled } = indexed
    return indexed.written.then(
      (outcome) => {
        metrics.written(outcome, rows, rejected)
        log.debug(
          { did: claim.did, rows, rejected, spilled, ms: Math.round(performance.now() - startedMs), outcome },
          'repo done',
        )
      },
      (error: unknown) => settle(claim, error, context),
    )
  } catch (error) {
    hosts.finished(claim.host, { error })
    await settle(claim, error, context)
    return undefined
  }
}

/** Writes down how a fetch failed: the one place where an error's class is acted on. */
async function settle(claim: ClaimedRepo, error: unknown, context: FetchContext): Promise<void> {
  const { state, metrics, log, retry, signal } = context
  if (signal.aborted) return await state.releaseClaims([claim])
  const kind = errorClass(error)
  if (kind === undefined || kind === 'stop-run' || kind === 'reject-record') throw error
  const { code, message } = error as { code: string; message: string }
  if (kind !== 'gone') metrics.failed(code)
  const attempts = claim.attempts + 1
  const failure = { claim, code, message }
  if (kind !== 'gone') log.warn({ did: claim.did, host: claim.host, attempts, code, reason: message }, `repo: ${kind}`)
  if (kind === 'gone') {
    if (!(await movedElsewhere(claim, context))) await state.goneRepos([failure])
  } else if (kind === 'retry' && attempts < retry.maxAttempts) {
    await state.retryRepos([{ ...failure, retryAt: retryAt(attempts, retry, error) }])
  } else {
    await state.failRepos([{ ...failure, retryAt: failedRetryAt() }])
  }
}

/** An account that its host does not serve may have moved: its DID document says where to. Then it waits there. */
async function movedElsewhere(claim: ClaimedRepo, context: FetchContext): Promise<boolean> {
  const { resolver, signal } = context.index
  try {
    const { host, signingKey, handle } = await resolver.resolve(claim.did, { refresh: true, signal })
    if (host === claim.host) return false
    await context.state.releaseClaims([claim])
    await context.state.saveResolved([{ id: claim.id, origin: host, signingKey, handle }])
    return true
  } catch (error) {
    if (error instanceof IndexerError && !signal.aborted) return false
    throw error
  }
}
