// The stage between discover and fetch: finds host, signing key and handle of every repo that has no host yet.
// Input: rows of `repos` without a host; output: the same rows with one, or with the reason why not, saved in batches.
// A slow directory or did:web host holds one place, never a batch, and did:web have few places. While all directories want to be left
// alone no did:plc is taken from the queue: whoever was not asked for has no attempt counted.
import { errorClass } from './errors.ts'
import type { Log } from './log.ts'
import { unaskedUntilMs } from './plc-directories.ts'
import type { Resolver } from './resolve.ts'
import { ResolveQueue } from './resolve-queue.ts'
import { failedRetryAt, type RetryPolicy, retryAt } from './retry-policy.ts'
import type { State } from './state.ts'
import type { Resolved, Unresolved, UnresolvedOutcome } from './state-resolution.ts'
import { steadyNow } from './steady-clock.ts'
import type { News } from './wakeup.ts'

/** DIDs taken from the database at once, and answers after which they are saved. */
const batchSize = 500
/** Answers wait at most this long to be saved, twice as long each time: the first repos of a run should not wait for a full batch. */
const firstSaveAfterMs = 25
const saveAfterMs = 200
const lookAgainMs = 500

export interface ResolveContext {
  state: State
  resolver: Resolver
  log: Log
  retry: RetryPolicy
  /** DIDs asked at the same time. */
  concurrency: number
  signal: AbortSignal
  /** Told when repos were listed. */
  listed: News
  /** Tells when repos have got a host. */
  resolved: News
  onError: (error: unknown) => void
  /** False once no repo can come to need a host: then the stage ends. */
  moreToCome: () => Promise<boolean>
}

export async function resolveRepos(context: ResolveContext): Promise<void> {
  const { state, signal, listed, concurrency, resolver } = context
  const { bell } = listed
  const askers = new Set<Promise<void>>()
  const answers = new Answers(context)
  const queue = new ResolveQueue(concurrency)
  const isPlcPaused = () => Date.now() < resolver.pausedUntilMs
  let lookAtMs = 0
  let heard = -1
  let failure: unknown
  /** The loop below is not woken for each DID, only when it has something to do. */
  const askAll = async () => {
    while (!signal.aborted) {
      const repo = queue.take(isPlcPaused())
      if (repo === undefined) return
      await ask(repo, answers, context)
      queue.settled(repo)
      if (answers.areDue) bell.wake()
    }
  }
  try {
    for (;;) {
      signal.throwIfAborted()
      if (failure) throw failure
      if (queue.wantsMore && (heard !== listed.times || steadyNow() >= lookAtMs)) {
        heard = listed.times
        const taken = await state.takeUnresolved(batchSize, { withWeb: queue.hasRoomForWeb })
        queue.add(taken)
        lookAtMs = taken.length === batchSize ? 0 : steadyNow() + lookAgainMs
      }
      while (!signal.aborted && queue.mayTake(isPlcPaused())) {
        const asker = askAll()
          .catch((error: unknown) => {
            failure ??= error
            queue.clear()
          })
          .finally(() => {
            askers.delete(asker)
            bell.wake()
          })
        askers.add(asker)
      }
      if (answers.areDue || (askers.size === 0 && answers.size > 0)) await answers.save()
      else if (askers.size > 0) await bell.wait(answers.saveAfterMs, signal)
      else if (!queue.isEmpty) await bell.wait(Math.max(1, resolver.pausedUntilMs - Date.now()), signal)
      else if (await context.moreToCome()) await bell.wait(lookAgainMs, signal)
      else return
    }
  } finally {
    queue.clear() // no asker takes another
    await Promise.allSettled(askers)
    await answers.save()
  }
}

async function ask(repo: Unresolved, answers: Answers, context: ResolveContext): Promise<void> {
  const { resolver, signal } = context
  try {
    const { host, signingKey, handle } = await resolver.resolve(repo.did, { signal })
    answers.resolved.push({ id: repo.id, origin: host, signingKey, handle })
  } catch (error) {
    if (!signal.aborted) answers.unresolved.push(judge(repo, error, context))
  }
}

function judge(repo: Unresolved, error: unknown, context: ResolveContext): UnresolvedOutcome {
  const found = errorClass(error)
  if (found === undefined || found === 'stop-run' || found === 'reject-record') throw error
  const { code, message } = error as { code: string; message: string }
  const unaskedMs = unaskedUntilMs(error)
  if (unaskedMs !== undefined)
    return { id: repo.id, code, message, class: 'retry', retryAt: new Date(unaskedMs), unasked: true }
  context.onError(error)
  const attempts = repo.attempts + 1
  const again = found === 'retry' && attempts < context.retry.maxAttempts
  context.log.debug({ did: repo.did, code, attempts }, 'resolving failed')
  return {
    id: repo.id,
    code,
    message,
    class: found === 'retry' && !again ? 'fail-repo' : found,
    retryAt: again ? retryAt(attempts, context.retry, error) : found === 'gone' ? undefined : failedRetryAt(),
  }
}

/** What is known and not saved yet. */
class Answers {
  resolved: Resolved[] = []
  saveAfterMs = firstSaveAfterMs
  unresolved: UnresolvedOutcome[] = []
  readonly #state: State
  readonly #told: News
  #savedAtMs = steadyNow()

  constructor({ state, resolved }: Pick<ResolveContext, 'state' | 'resolved'>) {
    this.#state = state
    this.#told = resolved
  }

  get size(): number {
    return this.resolved.length + this.unresolved.length
  }

  get areDue(): boolean {
    return this.size >= batchSize || (this.size > 0 && steadyNow() - this.#savedAtMs >= this.saveAfterMs)
  }

  async save(): Promise<void> {
    const { resolved, unresolved } = this
    this.resolved = []
    this.unresolved = []
    this.#savedAtMs = steadyNow()
    this.saveAfterMs = Math.min(saveAfterMs, this.saveAfterMs * 2)
    if (resolved.length > 0) {
      await this.#state.saveResolved(resolved)
      this.#told.tell()
    }
    if (unresolved.length > 0) await this.#state.saveUnresolved(unresolved)
  }
}
