import { describe, expect, it } from 'vitest'
import { Bucket } from './hosts-bucket.ts'
import { defaultHostLimits } from './hosts-limits.ts'

/** Takes as early as the bucket lets it, from..to; answers the times. `told`: what the host answers at once. */
function drain(bucket: Bucket, fromMs: number, toMs: number): number[] {
  const times: number[] = []
  for (let nowMs = fromMs; ; ) {
    nowMs = Math.max(nowMs, bucket.readyAt(nowMs))
    if (nowMs >= toMs) return times
    bucket.take(nowMs)
    times.push(nowMs)
    if (times.length > 100_000) throw new Error('the bucket does not pace')
  }
}

function mostInWindow(times: number[], windowMs: number): number {
  let most = 0
  for (let first = 0, last = 0; last < times.length; last++) {
    while ((times[last] ?? 0) - (times[first] ?? 0) >= windowMs) first++
    most = Math.max(most, last - first + 1)
  }
  return most
}

const told = (limit: number, windowMs: number) => ({ limit, windowMs })

describe('Bucket', () => {
  it('paces a host that says nothing at what the reference PDS allows, evenly from the start', () => {
    const times = drain(new Bucket(defaultHostLimits), 0, 600_000)
    expect(mostInWindow(times, 300_000)).toBeLessThanOrEqual(6000)
    expect(mostInWindow(times, 300_000)).toBeGreaterThan(5850)
    expect(mostInWindow(times, 1000)).toBeLessThanOrEqual(21)
  })

  it.each([
    [6000, 300_000],
    [100, 60_000],
    [50, 10_000],
    [10, 1000],
    [2, 60_000],
    [1, 60_000],
  ])('never sends more than %d in any window of %d ms, even after pauses', (limit, windowMs) => {
    const bucket = new Bucket(defaultHostLimits)
    bucket.learn(told(limit, windowMs), 0, 0)
    const times: number[] = []
    for (let round = 0; round < 8; round++) {
      const fromMs = round * windowMs * 0.7
      times.push(...drain(bucket, fromMs, fromMs + windowMs * 0.65))
    }
    times.push(...drain(bucket, 10 * windowMs, 14 * windowMs))
    expect(mostInWindow(times, windowMs)).toBeLessThanOrEqual(limit)
    const last = times.filter((time) => time >= 12 * windowMs)
    if (limit >= 50) expect(last.length / 2 / limit).toBeGreaterThanOrEqual(0.97)
  })

  it('catches up after a pause in which others had the slots', () => {
    const bucket = new Bucket(defaultHostLimits)
    bucket.learn(told(6000, 300_000), 0, 0)
    drain(bucket, 0, 60_000)
    expect(drain(bucket, 63_500, 63_501).length).toBeGreaterThanOrEqual(65)
  })

  it('charges what it sent before the limit was known at the price of the limit', () => {
    const bucket = new Bucket(defaultHostLimits)
    const sent = drain(bucket, 0, 1000)
    expect(sent.length).toBe(20)
    bucket.learn(told(100, 60_000), 0, 1000)
    const times = [...sent, ...drain(bucket, 1000, 200_000)]
    expect(mostInWindow(times, 60_000)).toBeLessThanOrEqual(100)
  })

  it('pays at the new price for what a host that lowered its limit had not counted yet', () => {
    const bucket = new Bucket(defaultHostLimits)
    bucket.learn(told(6000, 300_000), 0, 0)
    drain(bucket, 0, 100_000)
    const late = drain(bucket, 100_000, 105_000)
    bucket.learn(told(600, 300_000), 100_000, 105_000)
    const times = [...late, ...drain(bucket, 105_000, 900_000)]
    expect(mostInWindow(times, 300_000)).toBeLessThanOrEqual(600)
  })

  it('believes the newest request about the limit, not the newest answer', () => {
    const bucket = new Bucket(defaultHostLimits)
    bucket.learn(told(6000, 300_000), 0, 0)
    bucket.learn(told(600, 300_000), 50_000, 55_000)
    bucket.learn(told(6000, 300_000), 49_000, 56_000)
    expect(bucket.limit).toBe(600)
    expect(bucket.requestsPerSecond(56_000)).toBeLessThan(2)
  })

  it('speeds up at once when the limit rises', () => {
    const bucket = new Bucket(defaultHostLimits)
    bucket.learn(told(10, 600_000), 0, 0)
    drain(bucket, 0, 1000)
    bucket.learn(told(6000, 300_000), 1000, 1000)
    expect(drain(bucket, 1000, 11_000).length).toBeGreaterThan(190)
  })

  it('spreads what others left of a window over the rest of it, and is fast again afterwards', () => {
    const bucket = new Bucket(defaultHostLimits)
    bucket.learn({ ...told(6000, 300_000), remaining: 100, resetMs: 100_000 }, 0, 0)
    expect(drain(bucket, 0, 50_000).length).toBeLessThanOrEqual(51)
    expect(drain(bucket, 50_000, 100_000).length).toBeLessThanOrEqual(51)
    expect(drain(bucket, 100_000, 110_000).length).toBeGreaterThan(190)
  })

  it('subtracts what the host had not counted when it answered', () => {
    const bucket = new Bucket(defaultHostLimits)
    bucket.learn(told(6000, 300_000), -1, -1)
    drain(bucket, 0, 2000)
    bucket.learn({ ...told(6000, 300_000), remaining: 60, resetMs: 60_000 }, 1000, 2000)
    expect(drain(bucket, 2000, 62_000).length).toBeLessThanOrEqual(41)
  })

  it('waits for the reset when nothing is left, and takes a reset that has passed for no news', () => {
    const bucket = new Bucket(defaultHostLimits)
    bucket.learn({ ...told(6000, 300_000), remaining: 0, resetMs: 30_000 }, 0, 0)
    expect(bucket.readyAt(0)).toBe(31_000)
    const other = new Bucket(defaultHostLimits)
    other.learn({ ...told(6000, 300_000), remaining: 0, resetMs: 0 }, 0, 0)
    expect(other.readyAt(0)).toBeLessThan(100)
  })

  it('heeds retry-after, and the reset or half a minute when there is none', () => {
    const wait = (said: object) => {
      const bucket = new Bucket(defaultHostLimits)
      bucket.refuse(said, 0, 0)
      return bucket.readyAt(0)
    }
    expect(wait({ retryAfterMs: 7000 })).toBe(8000)
    expect(wait({ resetMs: 9000 })).toBe(10_000)
    expect(wait({})).toBe(31_000)
  })

  it('slows down for a host that says 429 without a limit, once for many at a time, and recovers', () => {
    const bucket = new Bucket(defaultHostLimits)
    const fullRate = bucket.requestsPerSecond(0)
    for (let request = 0; request < 10; request++) bucket.refuse({ retryAfterMs: 1000 }, 0, 100)
    expect(bucket.requestsPerSecond(2100) / fullRate).toBeCloseTo(0.7, 2)
    bucket.refuse({ retryAfterMs: 1000 }, 2200, 2300)
    expect(bucket.requestsPerSecond(4300) / fullRate).toBeCloseTo(0.49, 2)
    expect(bucket.requestsPerSecond(4300 + 600_000)).toBe(fullRate)
  })

  it('keeps the rate of a host that states its limit after one 429, and lowers it after a second', () => {
    const bucket = new Bucket(defaultHostLimits)
    bucket.learn(told(6000, 300_000), 0, 0)
    const fullRate = bucket.requestsPerSecond(0)
    bucket.refuse({ retryAfterMs: 1000 }, 0, 100)
    expect(bucket.requestsPerSecond(2200)).toBe(fullRate)
    bucket.refuse({ retryAfterMs: 1000 }, 2200, 2300)
    expect(bucket.requestsPerSecond(4300) / fullRate).toBeCloseTo(0.7, 2)
  })

  it('forgets a request that was not sent', () => {
    const bucket = new Bucket(defaultHostLimits)
    for (let turn = 0; turn < 100; turn++) {
      bucket.take(0)
      bucket.putBack(0)
    }
    expect(bucket.readyAt(0)).toBeLessThanOrEqual(0)
  })
})
