// A process whose row others have taken away, as they do with one that has not beaten for long.
import { expect, test } from 'vitest'
import { IndexerError } from './errors.ts'
import { aloneLease, takeLease } from './leases.ts'
import { insertProcess } from './processes.ts'
import { openState } from './state.ts'
import { openTenure } from './tenure.ts'
import { openTestDatabase, type TestDatabase } from './testing-database.ts'

const deadAfterMs = 1200 // beats every 200 ms
const forget = (database: TestDatabase, process: number) =>
  database.pool.query('delete from processes where id = $1', [process])

test('taken for dead, it begins anew under another number, when that was confirmed', async () => {
  await using database = await openTestDatabase()
  const confirmed: number[] = []
  const confirm = async (process: number) => void confirmed.push(process)
  const tenure = await openTenure(database, { deadAfterMs, confirm })
  const { process, lost } = tenure
  await forget(database, process)
  await expect.poll(() => lost.aborted, { timeout: 10_000 }).toBe(true)
  expect(confirmed).toEqual([tenure.process])
  expect(tenure.process).not.toBe(process)
  expect((await database.pool.query('select id from processes')).rows).toEqual([{ id: tenure.process }])
  await tenure.end()
})

test('with each beat it looks for others that are dead by now', async () => {
  await using database = await openTestDatabase()
  const tenure = await openTenure(database, { deadAfterMs })
  const other = await insertProcess(database, { egress: '', deadAfterMs: 60_000 })
  await database.pool.query(`update processes set beat_at = now() - interval '1 hour' where id = $1`, [other])
  const left = async () => (await database.pool.query('select id from processes')).rows
  await expect.poll(left, { timeout: 10_000 }).toEqual([{ id: tenure.process }])
  await tenure.end()
})

test('refused, it is registered no more and never sure again', async () => {
  await using database = await openTestDatabase()
  const refusals: unknown[] = []
  const error = new IndexerError('DatabaseBusy', 'another config')
  const tenure = await openTenure(database, {
    deadAfterMs,
    confirm: () => Promise.reject(error),
    onRefused: (refusal) => void refusals.push(refusal),
  })
  await forget(database, tenure.process)
  await expect.poll(() => tenure.isSure, { timeout: 10_000 }).toBe(false)
  expect(refusals).toEqual([error])
  await expect.poll(async () => (await database.pool.query('select id from processes')).rowCount).toBe(0)
  expect(tenure.lost.aborted).toBe(false)
  await tenure.end()
})

test('while somebody has the database for himself it may not begin anew', async () => {
  await using database = await openTestDatabase()
  const refusals: unknown[] = []
  const state = await openState(database, { deadAfterMs, onRefused: (error) => void refusals.push(error) })
  const other = await insertProcess(database, { egress: '', deadAfterMs: 60_000 })
  expect(await takeLease(database.pool, aloneLease, other)).toBe(true)
  await forget(database, state.process)
  await expect.poll(() => refusals, { timeout: 10_000 }).toMatchObject([{ code: 'DatabaseBusy' }])
  await state.end()
})
