import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { counterWriter } from './counters.ts'
import { openState } from './state.ts'
import { openTestDatabase, type TestDatabase } from './testing-database.ts'

test('what the server goes on to claim for a connection that is lost is given back, and nothing stays claimed that nobody knows of', async () => {
  await using database = await openTestDatabase()
  const { pool } = database
  const state = await openState(database)
  await state.readSource('relay')
  const repos = Array.from({ length: 6 }, (_, i) => ({ did: `did:plc:${i}`, active: true }))
  await state.commitPage({ source: 'relay', cursor: 'c1', repos, finished: true, host: 'https://pds.test' })
  const [{ hostId } = { hostId: 0 }] = await state.hostsWithWork()
  await state.claimRepos(hostId, 1)
  const blocker = await pool.connect()
  await blocker.query('begin')
  await blocker.query('select from counters where writer = $1 for update', [counterWriter(state.process, 2)])
  const sockets = new Map<number, Socket>()
  pool.on('acquire', (client) => {
    const { processID, connection } = client as unknown as { processID: number; connection: { stream: Socket } }
    sockets.set(processID, connection.stream)
  })
  const claiming = state.claimRepos(hostId, 2)
  await untilLockWaits(database, 1)
  for (const { pid } of await lockWaits(database)) sockets.get(pid)?.destroy()
  await untilLockWaits(database, 2) // the second attempt, or what comes before it
  await blocker.query('commit')
  blocker.release()
  expect(await claiming).toHaveLength(2)
  await untilLockWaits(database, 0)
  expect(await state.readBalance()).toMatchObject({ waiting: 3, working: 3 })
  await state.end()
})

async function untilLockWaits(database: TestDatabase, count: number): Promise<void> {
  while ((await lockWaits(database)).length !== count) await sleep(5)
}

async function lockWaits({ pool }: TestDatabase): Promise<{ pid: number }[]> {
  const { rows } = await pool.query<{ pid: number }>(`
    select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`)
  return rows
}
