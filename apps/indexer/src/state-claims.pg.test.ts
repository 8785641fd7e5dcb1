import type { Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { counterWriter } from './counters.ts'
import { openState } from './state.ts'
import { openTestDatabase, type TestDatabase } from './testing-database.ts'

test('what the server goes on to claim for a connection that is lost is given back, and nothing stays claimed that nobody knows of', async () => {
  await using database = await openTestDatabase()
  const { pool } = database
  const { state, hostId } = await listed(database, 6)
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

async function listed(database: TestDatabase, count: number) {
  const state = await openState(database)
  await state.readSource('relay')
  const repos = Array.from({ length: count }, (_, i) => ({ did: `did:plc:${i}`, active: true }))
  await state.commitPage({ source: 'relay', cursor: 'c1', repos, finished: true, host: 'https://pds.test' })
  const [{ hostId } = { hostId: 0 }] = await state.hostsWithWork()
  return { state, hostId }
}

test('what is given back is claimed again at once, though claims had passed it', async () => {
  await using database = await openTestDatabase()
  const { state, hostId } = await listed(database, 3)
  const claims = await state.claimRepos(hostId, 3)
  await state.releaseClaims(claims)
  expect(await state.claimRepos(hostId, 3)).toHaveLength(3)
  await state.end()
})

test.each(['none', 'hosts-with-work', 'claim-waiting'])(
  'a repo whose host is found is claimed at once, though claims had passed it (meanwhile under way: %s)',
  async (name) => {
    await using database = await openTestDatabase()
    const { pool } = database
    const { state, hostId } = await listed(database, 2)
    await pool.query('update repos set host_id = null, resolved_at = null where id = (select min(id) from repos)')
    const [found] = await state.takeUnresolved(1)
    expect(await state.claimRepos(hostId, 3)).toHaveLength(1)
    // Its answer is of the time before, and comes after.
    const answered = Promise.withResolvers<void>()
    const saved = Promise.withResolvers<void>()
    const { query } = pool
    const late = async (statement: { name?: string }) => {
      const answer: unknown = await Reflect.apply(query, pool, [statement])
      if (statement.name !== name) return answer
      answered.resolve()
      await saved.promise
      return answer
    }
    using _late = vi.spyOn(pool, 'query').mockImplementation(late as never)
    await pool.query({ text: `insert into repos (did, host_id) values ('did:plc:last', $1)`, values: [hostId] })
    const underWay = name === 'hosts-with-work' ? state.hostsWithWork() : state.claimRepos(hostId, 3)
    if (name === 'none') await underWay
    else await answered.promise
    await state.saveResolved([{ id: found?.id ?? 0, origin: 'https://pds.test', signingKey: 'did:key:zQ' }])
    saved.resolve()
    await underWay
    expect((await state.claimRepos(hostId, 3)).map(({ id }) => id)).toContain(found?.id)
    await state.end()
  },
)

test('all that is due at a host is claimed, a batch at a time', async () => {
  await using database = await openTestDatabase()
  const { state, hostId } = await listed(database, 5)
  const claims = await state.claimRepos(hostId, 5)
  const retryAt = new Date(Date.now() - 1000)
  await state.retryRepos(claims.map((claim) => ({ claim, code: 'HostError', message: '502', retryAt })))
  await state.hostsWithWork()
  expect(await state.claimRepos(hostId, 2)).toHaveLength(2)
  expect(await state.claimRepos(hostId, 2)).toHaveLength(2)
  expect(await state.claimRepos(hostId, 2)).toHaveLength(1)
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
