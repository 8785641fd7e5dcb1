// Keeps every host as busy as it allows: takes turns from the scheduler, claims repos for them, and has them indexed.
// Input: resolved repos that wait; output: their outcomes in the database. The surprise: a turn ends when the rows are
// handed to the writer, not when they are committed, because a transaction carries many repos.
import { errorClass, IndexerError } from './errors.ts'
import { HostQueues } from './host-queues.ts'
import type { Hosts } from './hosts.ts'
import type { IndexedRepo } from './index-repo.ts'
import type { Log } from './log.ts'
import type { MemoryBudget } from './memory-budget.ts'
import { unaskedUntilMs } from './plc-directories.ts'
import type { Resolver } from './resolve.ts'
import { failedRetryAt, type RetryPolicy, retryAt } from './retry-policy.ts'
import type { RunMetrics } from './run-metrics.ts'
import type { ClaimedRepo, State } from './state.ts'
import { steadyNow } from './steady-clock.ts'
import type { News } from './wakeup.ts'

/** Finished repos whose transaction is still to come; past this nothing new is fetched. */
const maxUnwritten = 4000
/** New fetches wait above this share of the limits, so that those under way need not go to the disk, and find room there. */
const busyShare = 0.75
/** The database is asked for hosts with work this often, or so rarely that it costs at most a twentieth of the time. */
const minLookForWorkMs = 200
/** One slow look, as when this thread was busy meanwhile, must not leave hosts idle. */
const maxLookForWorkMs = 5_000

export interface FetchContext {
  state: State
  hosts: Hosts
  /** One repo, from its host to its rows; `onHuge` is called when the download grows huge. */
  indexRepo: (claim: ClaimedRepo, onHuge: () => void) => Promise<IndexedRepo>
  /** Commits what is finished without waiting for more. */
  flush: () => void
  budget: MemoryBudget
  /** The disk that all walks share. */
  spills: MemoryBudget
  resolver: Resolver
  metrics: RunMetrics
  log: Log
  retry: RetryPolicy
  signal: AbortSignal
  /** Told when repos have got a host. */
  resolved: News
  /** False once no repo can become due any more: then the stage ends when nothing is in flight. */
  moreToCome: () => Promise<boolean>
  /** Writes down what is known of hosts; another process that takes one over goes on from there. */
  saveHosts: () => Promise<void>
  /** Told at once of what ends the stage: it returns only when what is in flight has ended too. */
  onFailure: (error: unknown) => void
}

export async function fetchRepos(context: FetchContext): Promise<void> {
  const { state, hosts, budget, spills, resolved, signal } = context
  const queues = new HostQueues(context)
  const wakeup = resolved.bell
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
    let heard = 0
    for (;;) {
      signal.throwIfAborted()
      if (failure) throw failure
      if (steadyNow() >= lookAtMs || (inFlight.size === 0 && heard !== resolved.times)) {
        heard = resolved.times
        const startedMs = steadyNow()
        const hasWork = await queues.lookForWork()
        await state.setIdle(!hasWork && inFlight.size === 0)
        const pauseMs = Math.min(maxLookForWorkMs, (steadyNow() - startedMs) * 20)
        lookAtMs = steadyNow() + Math.max(minLookForWorkMs, pauseMs)
      }
      // A process that was stopped and goes on may have lost its hosts to others: it asks when a beat has told.
      const full = !state.isSure || isBusy(budget) || isBusy(spills) || unwritten.size >= maxUnwritten
      const turn = full ? { waitMs: undefined } : hosts.next()
      if ('origin' in turn) {
        track(
          inFlight,
          queues.take(turn.origin).then(async (claim) => {
            if (!claim) return hosts.finished(turn.origin, 'unused')
            const fetched = await fetchOne(claim, context)
            if (fetched) track(unwritten, fetched.settled)
          }),
        )
        continue
      }
      if (inFlight.size === 0) context.flush()
      if (inFlight.size + unwritten.size === 0 && queues.isEmpty() && !(await context.moreToCome())) return
      await wakeup.wait(Math.min(turn.waitMs ?? minLookForWorkMs, Math.max(1, lookAtMs - steadyNow())), signal)
    }
  } catch (error) {
    context.onFailure(error)
    throw error
  } finally {
    await Promise.allSettled(inFlight)
    await Promise.allSettled(unwritten)
    await queues.releaseAll()
    // The process may go on for hours, with indexes: its hosts are for those that still ask, and it wants none of theirs.
    await context.saveHosts()
    await state.dropAllHosts()
    await state.setIdle(false)
  }
}

const isBusy = ({ heldBytes, limitBytes }: MemoryBudget): boolean => heldBytes > limitBytes * busyShare

/** One repo, whatever happens to it; what is left to wait for is the commit of its rows. Throws only what stops the run. */
async function fetchOne(claim: ClaimedRepo, context: FetchContext): Promise<{ settled: Promise<void> } | undefined> {
  const { hosts, metrics, log } = context
  const startedMs = performance.now()
  let huge = false
  try {
    const indexed = await context.indexRepo(claim, () => {
      huge ||= hosts.grewHuge(claim.host)
    })
    hosts.finished(claim.host, 'ok', { huge })
    const { rows, rejected, spilled } = indexed
    const settled = indexed.written.then(
      (outcome) => {
        metrics.written(outcome, rows, rejected)
        log.debug(
          { did: claim.did, rows, rejected, spilled, ms: Math.round(performance.now() - startedMs), outcome },
          'repo done',
        )
      },
      (error: unknown) => settle(claim, error, context),
    )
    return { settled } // in an object: a promise that an async function returns is awaited first
  } catch (error) {
    hosts.finished(claim.host, { error }, { huge })
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
  const unaskedMs = unaskedUntilMs(error)
  const attempts = unaskedMs === undefined ? claim.attempts + 1 : claim.attempts
  const failure = { claim, code, message }
  if (kind !== 'gone') log.warn({ did: claim.did, host: claim.host, attempts, code, reason: message }, `repo: ${kind}`)
  if (kind === 'gone' || code === 'RedirectElsewhere') {
    const moved = await movedElsewhere(claim, context)
    if (moved instanceof IndexerError) return await settle(claim, moved, context)
    if (moved) return
  }
  if (kind === 'gone') {
    await state.goneRepos([failure])
  } else if (unaskedMs !== undefined) {
    await state.retryRepos([{ ...failure, retryAt: new Date(unaskedMs), unasked: true }])
  } else if (kind === 'retry' && attempts < retry.maxAttempts) {
    await state.retryRepos([{ ...failure, retryAt: retryAt(attempts, retry, error) }])
  } else {
    await state.failRepos([{ ...failure, retryAt: failedRetryAt() }])
  }
}

/**
 * An account that its host does not serve, or redirects, may have moved: its DID document says where to. Then it waits there. Gives why the
 * directory could not be asked: until it can, nobody is taken for gone, for the rows of deleted accounts are removed.
 */
async function movedElsewhere(claim: ClaimedRepo, context: FetchContext): Promise<boolean | IndexerError> {
  const { resolver, signal } = context
  try {
    const { host, signingKey, handle } = await resolver.resolve(claim.did, { refresh: true, signal })
    if (host === claim.host) return false
    await context.state.releaseClaims([claim])
    await context.state.saveResolved([{ id: claim.id, origin: host, signingKey, handle }])
    return true
  } catch (error) {
    if (!(error instanceof IndexerError) || signal.aborted) throw error
    return errorClass(error) === 'retry' && error
  }
}
