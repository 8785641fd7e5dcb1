import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { dropLease, takeLease, withLease } from './leases.ts'
import { openState } from './state.ts'
import { openTestDatabase } from './testing-database.ts'

const { signal } = new AbortController()

test('work with a lease is done by one process at a time, and by the next when the first is done or dead', async () => {
  await using database = await openTestDatabase()
  const [one, two] = [await openState(database), await openState(database)]
  const order: string[] = []
  const begun = Promise.withResolvers<void>()
  const first = withLease(one, { name: 'source x', signal }, async () => {
    order.push('one begins')
    begun.resolve()
    await sleep(300)
    order.push('one ends')
  })
  await begun.promise
  const second = withLease(two, { name: 'source x', signal }, async () => void order.push('two'))
  await Promise.all([first, second])
  expect(order).toEqual(['one begins', 'one ends', 'two'])

  expect(await one.takeLease('source y')).toBe(true)
  expect(await two.takeLease('source y')).toBe(false)
  await database.pool.query(`update processes set beat_at = now() - interval '1 hour' where id = $1`, [one.process])
  await two.releaseDeadClaims()
  expect(await two.takeLease('source y')).toBe(true)
  await one.end()
  await two.end()
})

test('a lease goes to nobody who is not registered, and is dropped by nobody but its holder', async () => {
  await using database = await openTestDatabase()
  const [one, two] = [await openState(database), await openState(database)]
  expect(await takeLease(database.pool, 'source x', 1_000_000)).toBe(false)
  expect(await one.takeLease('source x')).toBe(true)
  await dropLease(database.pool, 'source x', two.process)
  expect(await two.takeLease('source x')).toBe(false)
  await one.dropLease('source x')
  expect(await two.takeLease('source x')).toBe(true)
  await one.end()
  await two.end()
})

test('a process that was taken for dead stops its work, is another one from then on, and begins anew', async () => {
  await using database = await openTestDatabase()
  const state = await openState(database, { deadAfterMs: 1200 })
  const before = state.process
  let times = 0
  await withLease(state, { name: 'source x', signal }, async (signal) => {
    if (++times > 1) return
    await database.pool.query('delete from processes')
    await sleep(30_000, undefined, { signal })
  })
  expect(times).toBe(2)
  expect(state.process).not.toBe(before)
  expect(state.lost.aborted).toBe(false)
  await state.end()
})
