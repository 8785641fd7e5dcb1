import { expect, test } from 'vitest'
import { IndexerError } from './errors.ts'
import { patienceMs, retryAt, retryDelayMs, withRetries } from './retry-policy.ts'

const policy = { baseDelayMs: 1000, maxAttempts: 3 }

test('the wait doubles with each attempt, with a quarter of jitter either way, up to an hour', () => {
  expect(retryDelayMs(1, policy, () => 0.5)).toBe(1000)
  expect(retryDelayMs(4, policy, () => 0.5)).toBe(8000)
  expect(retryDelayMs(4, policy, () => 0)).toBe(6000)
  expect(retryDelayMs(200, policy, () => 0.5)).toBe(3_600_000)
})

test('a host that says when to come back is believed if that is later', () => {
  const laterMs = Date.now() + 60_000
  expect(retryAt(1, policy, new IndexerError('RateLimited', 'x', { details: { retryAtMs: laterMs } })).getTime()).toBe(
    laterMs,
  )
  expect(
    retryAt(1, policy, new IndexerError('RateLimited', 'x', { details: { retryAtMs: 0 } })).getTime(),
  ).toBeGreaterThan(Date.now())
})

test('only errors of class retry are tried again, and not for ever', async () => {
  const quick = { baseDelayMs: 1, maxAttempts: 3 }
  const { signal } = new AbortController()
  let asked = 0
  const failing = (code: 'HostError' | 'AddressRefused') => () => {
    asked++
    return Promise.reject(new IndexerError(code, code))
  }
  await expect(withRetries(failing('HostError'), quick, { signal })).rejects.toThrow('HostError')
  expect(asked).toBe(3)
  await expect(withRetries(failing('AddressRefused'), quick, { signal })).rejects.toThrow('AddressRefused')
  expect(asked).toBe(4)
})

test('a host that wants to be left alone for a day is not waited for', async () => {
  const { signal } = new AbortController()
  const retryAtMs = Date.now() + 24 * 3_600_000
  const ask = () => Promise.reject(new IndexerError('RateLimited', 'tomorrow', { details: { retryAtMs } }))
  await expect(withRetries(ask, policy, { signal })).rejects.toThrow('tomorrow')
})

test('the patience with a dead host is what the waits of one repo add up to', () => {
  expect(patienceMs({ baseDelayMs: 1000, maxAttempts: 4 })).toBe(1000 + 2000 + 4000)
})
