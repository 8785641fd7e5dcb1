import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { IndexerError } from './errors.ts'
import { HostQueues } from './host-queues.ts'
import { createHosts, type Hosts } from './hosts.ts'
import { keepHosts } from './hosts-memory.ts'
import { openLog } from './log.ts'
import { openState, type State } from './state.ts'
import { openTestDatabase, type TestDatabase } from './testing-database.ts'

const origin = 'https://pds.test'
const log = openLog({ json: true, level: 'fatal' })
const retry = { baseDelayMs: 1000, maxAttempts: 3 }
const refused = { error: new IndexerError('ConnectFailed', 'refused') }

/** Two repos that wait for a host which died a day ago, when the last process ended. */
async function rememberDead(database: TestDatabase, state: State): Promise<void> {
  await state.readSource('relay')
  const repos = ['did:plc:a', 'did:plc:b'].map((did) => ({ did, active: true }))
  await state.commitPage({ source: 'relay', cursor: 'c1', repos, finished: true })
  const unresolved = await state.takeUnresolved(10)
  await state.saveResolved(unresolved.map(({ id }) => ({ id, origin, signingKey: 'did:key:zQ', handle: undefined })))
  const deadSince = new Date(Date.now() - 86_400_000)
  await database.pool.query(`update hosts set failures = 5, cool_until = $1, limits = $2`, [deadSince, { deadSince }])
}

async function openQueues(database: TestDatabase, state: State) {
  const hosts = createHosts({ now: Date.now, maxInFlight: 8 })
  const memory = await keepHosts(hosts, database)
  return { hosts, memory, queues: new HostQueues({ state, hosts, log, retry, saveHosts: memory.save }) }
}

test('a host that was dead before a restart is asked once before its repos are given up', async () => {
  await using database = await openTestDatabase()
  const state = await openState(database)
  await rememberDead(database, state)
  const { hosts, memory, queues } = await openQueues(database, state)
  await using _memory = memory
  expect(await queues.lookForWork()).toBe(true)
  expect(await state.readBalance()).toMatchObject({ waiting: 2, failed: 0 })
  await nextTurn(hosts)
  hosts.finished(origin, refused)
  await queues.lookForWork()
  expect(await state.readBalance()).toMatchObject({ waiting: 0, failed: 2 })
  await state.end()
})

test('a host that answers nobody behind one address is left to those behind another, and the last one gives it up', async () => {
  await using database = await openTestDatabase()
  const [one, two] = [await openState(database, { egress: 'a' }), await openState(database, { egress: 'b' })]
  await rememberDead(database, one)
  const [a, b] = [await openQueues(database, one), await openQueues(database, two)]
  await using _ofA = a.memory
  await using _ofB = b.memory
  for (const { queues } of [a, b]) expect(await queues.lookForWork()).toBe(true)
  for (const { hosts } of [a, b]) await nextTurn(hosts)
  a.hosts.finished(origin, refused)
  await a.queues.lookForWork()
  expect(await one.readBalance()).toMatchObject({ waiting: 2, failed: 0 })
  expect((await database.pool.query('select egress from host_leases')).rows).toEqual([{ egress: 'b' }])
  expect(await a.queues.lookForWork()).toBe(false)
  b.hosts.finished(origin, refused)
  await b.queues.lookForWork()
  expect(await one.readBalance()).toMatchObject({ waiting: 0, failed: 2 })
  await one.end()
  await two.end()
})

test('a host that pauses stays with the process that it told so, when half of the hosts are given away', async () => {
  await using database = await openTestDatabase()
  const [one, two] = [await openState(database), await openState(database)]
  await one.readSource('relay')
  const origins = ['a', 'b', 'c', 'd'].map((name) => `https://${name}.test`)
  for (const [index, host] of origins.entries()) {
    const repos = [{ did: `did:plc:${index}`, active: true }]
    await one.commitPage({ source: 'relay', cursor: `c${index}`, repos, finished: false, host })
  }
  const { hosts, memory, queues } = await openQueues(database, one)
  await using _memory = memory
  await queues.lookForWork()
  const rateLimit = { retryAfterMs: 300_000 }
  for (const origin of origins.slice(0, 2)) {
    hosts.seen({ origin, kind: 'repo', status: 429, rateLimit, requestedAtMs: Date.now() })
  }
  await two.setIdle(true)
  await sleep(1_100) // the others are looked after once a second
  await queues.lookForWork()
  const { rows } = await database.pool.query(
    'select origin from host_leases l join hosts h on h.id = l.host_id order by origin',
  )
  expect(rows).toHaveLength(3)
  expect(rows.slice(0, 2)).toEqual(origins.slice(0, 2).map((origin) => ({ origin })))
  await one.end()
  await two.end()
})

async function nextTurn(hosts: Hosts): Promise<void> {
  for (let turn = hosts.next(); 'waitMs' in turn; turn = hosts.next()) await sleep(turn.waitMs ?? 1)
}
