// The stage between discover and fetch: finds host, signing key and handle of every repo that has no host yet.
// Input: rows of `repos` without a host; output: the same rows with one, or with the reason why not, saved in batches.
import { errorClass } from './errors.ts'
import type { Log } from './log.ts'
import type { Resolver } from './resolve.ts'
import { type RetryPolicy, retryAt } from './retry-policy.ts'
import type { State } from './state.ts'
import type { Resolved, Unresolved, UnresolvedOutcome } from './state-resolution.ts'

const batchSize = 500

export interface ResolveContext {
  state: State
  resolver: Resolver
  log: Log
  retry: RetryPolicy
  /** DIDs asked at the same time. */
  concurrency: number
  signal: AbortSignal
  onError: (error: unknown) => void
}

/** Resolves one batch; how many repos it took up, 0 when none is due. */
export async function resolveBatch(context: ResolveContext): Promise<number> {
  const { state, resolver, signal } = context
  const batch = await state.takeUnresolved(batchSize)
  const resolved: Resolved[] = []
  const unresolved: UnresolvedOutcome[] = []
  await forEachConcurrently(batch, context.concurrency, async (repo) => {
    if (signal.aborted) return
    try {
      const { host, signingKey, handle } = await resolver.resolve(repo.did, { signal })
      resolved.push({ id: repo.id, origin: host, signingKey, handle })
    } catch (error) {
      if (signal.aborted) return
      unresolved.push(judge(repo, error, context))
    }
  })
  if (resolved.length > 0) await state.saveResolved(resolved)
  if (unresolved.length > 0) await state.saveUnresolved(unresolved)
  signal.throwIfAborted()
  return batch.length
}

function judge(
  repo: UnresolvedRepo,
  error: unknown,
  context: ResolveContext,
): Parameters<State['saveUnresolved']>[0][number] {
  const found = errorClass(error)
  if (found === undefined || found === 'stop-run' || found === 'reject-record') throw error
  context.onError(error)
  const { code, message } = error as { code: string; message: string }
  const attempts = repo.attempts + 1
  const last = found === 'retry' && attempts >= context.retry.maxAttempts
  context.log.debug({ did: repo.did, code, attempts }, 'resolving failed')
  return {
    id: repo.id,
    code,
    message,
    class: last ? 'fail-repo' : found,
    retryAt: found === 'retry' && !last ? retryAt(attempts, context.retry, error) : undefined,
  }
}

/** Runs `work` on every item, `limit` at a time; the first error ends it. */
export async function forEachConcurrently<T>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const queue = items.values()
  await Promise.all(
    Array.from({ length: Math.min(limit, items.length) }, async () => {
      for (const item of queue) await work(item)
    }),
  )
}
