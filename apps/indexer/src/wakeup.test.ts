import { expect, test } from 'vitest'
import { Wakeup } from './wakeup.ts'

const { signal } = new AbortController()

test('a ring ends the wait at once', async () => {
  const bell = new Wakeup()
  setTimeout(() => bell.wake(), 5)
  await bell.wait(600_000, signal) // without the ring the test would run out of its own time
})

test('a ring with nobody waiting is kept for the next wait, once', async () => {
  const bell = new Wakeup()
  bell.wake()
  await bell.wait(60_000, signal)
  const startedMs = performance.now()
  await bell.wait(20, signal)
  expect(performance.now() - startedMs).toBeGreaterThan(15)
})

test('an abort ends the wait with its reason', async () => {
  const stop = new AbortController()
  setTimeout(() => stop.abort(new Error('enough')), 5)
  await expect(new Wakeup().wait(60_000, stop.signal)).rejects.toThrow('enough')
})
