import { describe, expect, it } from 'vitest'
import { Health } from './hosts-health.ts'
import { defaultHostLimits } from './hosts-limits.ts'

const { coolAfterFailures, minimumCoolMs, maximumCoolMs, hostConcurrency, firstConcurrency } = defaultHostLimits

function deadHost(nowMs = 0): Health {
  const health = new Health(defaultHostLimits)
  for (let failure = 0; failure < coolAfterFailures; failure++) health.failed(0, nowMs)
  return health
}

describe('Health', () => {
  it('lets few requests out before the first answer, and many after it', () => {
    const health = new Health(defaultHostLimits)
    expect(health.allowed()).toBe(firstConcurrency)
    health.succeeded(0)
    expect(health.allowed()).toBe(hostConcurrency)
  })

  it('cools a host down after failures in a row, and not after failures between successes', () => {
    const flaky = new Health(defaultHostLimits)
    for (let round = 0; round < 100; round++) {
      flaky.failed(0, round)
      flaky.succeeded(0)
    }
    expect(flaky.state(100)).toBe('ok')
    const dead = deadHost()
    expect(dead.state(0)).toBe('cooling')
    expect(dead.coolUntilMs).toBe(minimumCoolMs)
  })

  it('then tries one request, and cools down again when that fails', () => {
    const health = deadHost()
    expect(health.state(minimumCoolMs)).toBe('probing')
    expect(health.allowed()).toBe(1)
    health.failed(0, minimumCoolMs)
    expect(health.state(minimumCoolMs)).toBe('cooling')
  })

  it('asks again after a part of the time that the host has been dead, at most an hour', () => {
    const health = deadHost()
    let longest = 0
    for (let nowMs = 0; nowMs < 7 * 24 * 3600_000; ) {
      const coolMs = health.coolUntilMs - nowMs
      expect(coolMs).toBeLessThanOrEqual(Math.max(minimumCoolMs, nowMs * 0.02) + 1)
      longest = Math.max(longest, coolMs)
      nowMs = health.coolUntilMs
      health.failed(0, nowMs)
    }
    expect(longest).toBeCloseTo(maximumCoolMs)
  })

  it('takes failures of requests that were in flight at the death for no news', () => {
    const health = new Health(defaultHostLimits)
    health.succeeded(30)
    for (let inFlight = 29; inFlight >= 0; inFlight--) health.failed(inFlight, 0)
    expect(health.coolUntilMs).toBe(minimumCoolMs)
    expect(health.failures).toBe(coolAfterFailures)
    health.failed(0, minimumCoolMs)
    expect(health.coolUntilMs).toBeGreaterThan(minimumCoolMs)
  })

  it('trusts a host that answers again, with half of what it bore before', () => {
    const health = deadHost()
    health.succeeded(0)
    expect(health.state(0)).toBe('ok')
    expect(health.allowed()).toBe(hostConcurrency / 2)
    expect(health.deadSinceMs).toBeUndefined()
  })

  it('halves the concurrency of a host that struggles, step by step, and gives it back', () => {
    const health = new Health(defaultHostLimits)
    health.succeeded(0)
    for (let round = 0; round < 200; round++) {
      health.failed(health.allowed() - 1, round)
      health.succeeded(health.allowed() - 1)
    }
    const struggling = health.allowed()
    expect(struggling).toBeLessThan(10)
    expect(struggling).toBeGreaterThanOrEqual(1)
    for (let round = 0; round < 1000; round++) health.succeeded(health.allowed() - 1)
    expect(health.allowed()).toBe(hostConcurrency)
  })

  it('goes on cooling after a restart', () => {
    const health = new Health(defaultHostLimits)
    health.restore(0, 10_000)
    expect(health.state(5000)).toBe('cooling')
    health.failed(0, 1_000_000)
    expect(health.coolUntilMs).toBe(1_020_000)
  })
})
