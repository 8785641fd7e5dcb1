import { expect, test } from 'vitest'
import { coded, exitCodeOf, IndexerError, isInterruption } from './errors.ts'

test('what ended a command keeps its code when closing fails, too', async () => {
  const full = new IndexerError('DatabaseFull', 'the database has no room')
  const error = await failTwice(full).catch(coded)
  expect(error).toBe(full)
  expect(exitCodeOf(error)).toBe(75)
})

test('a stop is a stop, also when closing fails', async () => {
  const { signal } = new AbortController()
  const stopped = AbortSignal.abort()
  const error = await failTwice(stopped.reason).catch((error: unknown) => error)
  expect(isInterruption(error, stopped)).toBe(true)
  expect(isInterruption(error, signal)).toBe(false)
})

async function failTwice(error: Error): Promise<void> {
  await using _opened = {
    [Symbol.asyncDispose]: () => Promise.reject(new IndexerError('EmbeddedDatabaseFailed', 'does not stop')),
  }
  throw error
}
