// Reads what a host says about its limits: `ratelimit-*`, `x-ratelimit-*`, the combined drafts and `retry-after`.
// In: response headers. Out: numbers relative to now. The surprise: `ratelimit-reset` is epoch seconds at a PDS, seconds
// to wait in the IETF drafts, and an epoch is compared with the host's own clock (`date`), not with ours.

/** What one response said; a field that it did not say is absent. */
export interface RateLimit {
  /** Requests allowed in one window. */
  limit?: number
  /** Requests left in this window. */
  remaining?: number
  /** Milliseconds until the window ends and `remaining` is full again. */
  resetMs?: number
  /** Length of the window in milliseconds (`ratelimit-policy: 6000;w=300`). */
  windowMs?: number
  /** Milliseconds during which the host does not want to be asked (`retry-after`). */
  retryAfterMs?: number
}

export type HeaderMap = Readonly<Record<string, string | string[] | undefined>>

/** Nobody is believed who asks for more than a day of silence; hosts have sent years. */
export const maxRetryAfterMs = 24 * 3600_000
/** Nor who states a longer window: the pace would be one of days or years between two requests. */
export const longestWindowMs = 24 * 3600_000

export function readRateLimit(headers: HeaderMap, nowMs: number): RateLimit {
  const combined = text(headers, 'ratelimit') ?? ''
  const policy = text(headers, 'ratelimit-policy') ?? text(headers, 'x-ratelimit-policy') ?? ''
  const limit = number(headers, 'limit') ?? parameter(combined, 'limit') ?? parameter(policy, 'q') ?? leading(policy)
  const remaining = number(headers, 'remaining') ?? parameter(combined, 'remaining') ?? parameter(combined, 'r')
  const reset = number(headers, 'reset') ?? parameter(combined, 'reset') ?? parameter(combined, 't')
  const windowSeconds = parameter(policy, 'w') ?? 0
  const windowMs = windowSeconds > 0 ? Math.min(windowSeconds * 1000, longestWindowMs) : undefined
  const retryAfter = text(headers, 'retry-after')
  const needsClock = reset !== undefined || retryAfter !== undefined
  const hostNowMs = needsClock ? hostClock(text(headers, 'date'), nowMs) : nowMs
  const retryAfterMs = readRetryAfter(retryAfter, hostNowMs)
  return {
    ...(limit !== undefined && limit > 0 ? { limit } : {}),
    ...(remaining !== undefined ? { remaining } : {}),
    ...(reset !== undefined ? { resetMs: Math.min(untilReset(reset, hostNowMs), windowMs ?? maxRetryAfterMs) } : {}),
    ...(windowMs !== undefined ? { windowMs } : {}),
    ...(retryAfterMs !== undefined ? { retryAfterMs } : {}),
  }
}

/** `date` has whole seconds: a clock that agrees with ours within two is taken to be ours. */
function hostClock(date: string | undefined, nowMs: number): number {
  const hostMs = Date.parse(date ?? '')
  return Number.isNaN(hostMs) || Math.abs(hostMs + 500 - nowMs) < 2000 ? nowMs : hostMs + 500
}

function text(headers: HeaderMap, name: string): string | undefined {
  const value = headers[name]
  return Array.isArray(value) ? value[0] : value
}

function number(headers: HeaderMap, field: 'limit' | 'remaining' | 'reset'): number | undefined {
  return leading(text(headers, `ratelimit-${field}`) ?? text(headers, `x-ratelimit-${field}`) ?? '')
}

function leading(value: string): number | undefined {
  if (value === '') return undefined
  return finite(/^\s*(\d+(?:\.\d+)?)/.exec(value)?.[1])
}

function parameter(value: string, name: string): number | undefined {
  if (value === '') return undefined
  for (const part of value.split(/[;,]/)) {
    const [key, number] = part.split('=')
    if (key?.trim().toLowerCase() === name) return finite(number)
  }
  return undefined
}

function finite(digits: string | undefined): number | undefined {
  const value = Number(digits ?? Number.NaN)
  return Number.isFinite(value) && value >= 0 ? value : undefined
}

function untilReset(reset: number, hostNowMs: number): number {
  const epochMs = reset > 1e11 ? reset : reset > 1e8 ? reset * 1000 : hostNowMs + reset * 1000
  return Math.min(Math.max(epochMs - hostNowMs, 0), maxRetryAfterMs)
}

function readRetryAfter(value: string | undefined, hostNowMs: number): number | undefined {
  if (value === undefined) return undefined
  const seconds = leading(value)
  const ms = seconds !== undefined ? seconds * 1000 : Date.parse(value) - hostNowMs
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), maxRetryAfterMs)
}
