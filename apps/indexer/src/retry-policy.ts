// When something that failed is tried again: the wait doubles with each attempt, with jitter, up to an hour; a host that
// says when to come back is believed if that is later.
import { setTimeout as sleep } from 'node:timers/promises'
import { errorClass, IndexerError } from './errors.ts'
import { unaskedUntilMs } from './plc-directories.ts'

export const maxDelayMs = 3_600_000

export interface RetryPolicy {
  baseDelayMs: number
  maxAttempts: number
}

/** Milliseconds to wait after the `attempts`-th failed attempt (1 for the first). */
export function retryDelayMs(attempts: number, policy: RetryPolicy, random: () => number = Math.random): number {
  const fullMs = Math.min(maxDelayMs, policy.baseDelayMs * 2 ** Math.min(40, attempts - 1))
  return Math.round(fullMs * (0.75 + random() / 2))
}

/** The same as a time, not before the one that the host gave in `details.retryAtMs`. */
export function retryAt(attempts: number, policy: RetryPolicy, error?: unknown): Date {
  const asked = error instanceof IndexerError ? error.details.retryAtMs : undefined
  const atMs = Date.now() + retryDelayMs(attempts, policy)
  return new Date(typeof asked === 'number' ? Math.max(asked, atMs) : atMs)
}

/** How long all the waits of one repo are together: a host that is dead for longer has used up the patience of each. */
export function patienceMs(policy: RetryPolicy): number {
  let totalMs = 0
  for (let attempts = 1; attempts < policy.maxAttempts; attempts++) totalMs += retryDelayMs(attempts, policy, () => 0.5)
  return totalMs
}

/** A repo that has failed is looked at again by a run that comes this much later. */
const failedRetryMs = 6 * 3_600_000

export function failedRetryAt(): Date {
  return new Date(Date.now() + failedRetryMs)
}

/**
 * Runs `ask` until it answers, its error is not of class `retry`, `maxAttempts` are used up, or a host wants to be left alone for more
 * than an hour; then throws the last error.
 */
export async function withRetries<T>(
  ask: () => Promise<T>,
  policy: RetryPolicy,
  { signal, onRetry }: { signal: AbortSignal; onRetry?: (error: unknown, delayMs: number) => void },
): Promise<T> {
  for (let attempts = 1; ; attempts++) {
    try {
      return await ask()
    } catch (error) {
      if (signal.aborted || errorClass(error) !== 'retry' || attempts >= policy.maxAttempts) throw error
      const delayMs = Math.max(0, retryAt(attempts, policy, error).getTime() - Date.now())
      if (delayMs > 1.25 * maxDelayMs) throw error
      onRetry?.(error, delayMs)
      await sleep(delayMs, undefined, { signal })
    }
  }
}

/** Resolves a DID as soon as a directory may be asked; one that wants to be left alone for more than an hour is not waited for. */
export async function whenAskable<T>(resolve: () => Promise<T>, signal: AbortSignal): Promise<T> {
  for (;;) {
    try {
      return await resolve()
    } catch (error) {
      const waitMs = (unaskedUntilMs(error) ?? Number.POSITIVE_INFINITY) - Date.now()
      if (waitMs > maxDelayMs) throw error
      await sleep(Math.max(1, waitMs), undefined, { signal })
    }
  }
}
