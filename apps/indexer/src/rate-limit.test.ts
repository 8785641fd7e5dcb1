import { describe, expect, it } from 'vitest'
import { longestWindowMs, maxRetryAfterMs, readRateLimit } from './rate-limit.ts'

const nowMs = Date.parse('2026-01-01T00:00:00Z')
const hostSeconds = nowMs / 1000

describe('readRateLimit', () => {
  it('reads what a PDS sends, with an epoch as the reset', () => {
    const headers = {
      'ratelimit-limit': '6000',
      'ratelimit-remaining': '5999',
      'ratelimit-reset': String(hostSeconds + 300),
      'ratelimit-policy': '6000;w=300',
    }
    expect(readRateLimit(headers, nowMs)).toEqual({ limit: 6000, remaining: 5999, resetMs: 300_000, windowMs: 300_000 })
  })

  it('compares an epoch with the clock of the host, which may be wrong', () => {
    const headers = {
      date: new Date(nowMs + 3600_000).toUTCString(),
      'ratelimit-reset': String(hostSeconds + 3600 + 20),
    }
    expect(readRateLimit(headers, nowMs)).toEqual({ resetMs: 19_500 })
    const close = { date: new Date(nowMs - 1000).toUTCString(), 'ratelimit-reset': String(hostSeconds + 20) }
    expect(readRateLimit(close, nowMs)).toEqual({ resetMs: 20_000 })
  })

  it('reads a reset in seconds, in milliseconds since the epoch, and x- headers', () => {
    expect(readRateLimit({ 'ratelimit-reset': '17' }, nowMs)).toEqual({ resetMs: 17_000 })
    expect(readRateLimit({ 'x-ratelimit-reset': String(nowMs + 500) }, nowMs)).toEqual({ resetMs: 500 })
    expect(readRateLimit({ 'x-ratelimit-limit': '10', 'x-ratelimit-remaining': '0' }, nowMs)).toEqual({
      limit: 10,
      remaining: 0,
    })
  })

  it('believes no reset behind the end of the window, as in milliseconds or by a clock that is ahead', () => {
    const policy = { 'ratelimit-policy': '100;w=60' }
    for (const reset of ['45000', String(hostSeconds + 7200)])
      expect(readRateLimit({ ...policy, 'ratelimit-reset': reset }, nowMs).resetMs).toBe(60_000)
  })

  it('reads the combined drafts', () => {
    expect(readRateLimit({ ratelimit: 'limit=100, remaining=50, reset=5' }, nowMs)).toEqual({
      limit: 100,
      remaining: 50,
      resetMs: 5000,
    })
    const draft8 = { ratelimit: '"default";r=50;t=30', 'ratelimit-policy': '"default";q=100;w=60' }
    expect(readRateLimit(draft8, nowMs)).toEqual({ limit: 100, remaining: 50, resetMs: 30_000, windowMs: 60_000 })
  })

  it('reads retry-after as seconds and as a date', () => {
    expect(readRateLimit({ 'retry-after': '120' }, nowMs)).toEqual({ retryAfterMs: 120_000 })
    const date = new Date(nowMs + 90_000).toUTCString()
    expect(readRateLimit({ 'retry-after': date }, nowMs)).toEqual({ retryAfterMs: 90_000 })
    expect(readRateLimit({ 'retry-after': 'soon' }, nowMs)).toEqual({})
  })

  it.each(['86401', '31536000', '1e14', '1e306'])('believes no window longer than a day: w=%s', (seconds) => {
    expect(readRateLimit({ 'ratelimit-policy': `10;w=${seconds}` }, nowMs)).toEqual({
      limit: 10,
      windowMs: longestWindowMs,
    })
  })

  it('believes neither a past, nor years, nor nonsense', () => {
    expect(readRateLimit({ 'ratelimit-reset': String(hostSeconds - 60) }, nowMs)).toEqual({ resetMs: 0 })
    expect(readRateLimit({ 'retry-after': '99999999' }, nowMs)).toEqual({ retryAfterMs: maxRetryAfterMs })
    expect(
      readRateLimit({ 'ratelimit-limit': 'many', 'ratelimit-remaining': '-3', 'ratelimit-policy': ';w=0' }, nowMs),
    ).toEqual({})
    expect(readRateLimit({ 'ratelimit-limit': '0' }, nowMs)).toEqual({})
  })
})
