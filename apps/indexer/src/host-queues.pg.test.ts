import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { CounterChanges, counterWriter } from './counters.ts'
import { IndexerError } from './errors.ts'
import { HostQueues } from './host-queues.ts'
import { createHosts, type Hosts } from './hosts.ts'
import { keepHosts } from './hosts-memory.ts'
import { openLog } from './log.ts'
import { openState, type State } from './state.ts'
import { moveRepos } from './state-host-claims.ts'
import { openTestDatabase, type TestDatabase, untilLockWait } from './testing-database.ts'

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

test.each([
  [100, 64],
  [8_000, 1_000],
  [60_000, 4_096],
])('of %d hosts that nobody has a process takes %d at a look', async (free, leased) => {
  await using database = await openTestDatabase()
  const { pool } = database
  const state = await openState(database)
  await pool.query(`insert into hosts (origin) select 'https://h' || n || '.test' from generate_series(1, $1) n`, [
    free,
  ])
  await pool.query(`insert into repos (did, host_id) select 'did:plc:' || id, id from hosts`)
  const { memory, queues } = await openQueues(database, state)
  await using _memory = memory
  await queues.lookForWork()
  expect((await pool.query('select * from host_leases')).rowCount).toBe(leased)
  await state.end()
})

test('what is claimed while this process is taken for dead waits again', async () => {
  await using database = await openTestDatabase()
  const { pool } = database
  const before = await openState(database)
  await before.readSource('relay')
  const repos = Array.from({ length: 20 }, (_, i) => ({ did: `did:plc:${i}`, active: true }))
  await before.commitPage({ source: 'relay', cursor: 'c1', repos, finished: true, host: origin })
  await before.end()
  await pool.query(`update repos set state = 'retry', retry_at = now() where id = (select min(id) from repos)`)
  await pool.query(`insert into counters values ('repos/waiting', 99, -1), ('repos/retry', 99, 1)`)
  const state = await openState(database, { deadAfterMs: 600 })
  const { memory, queues } = await openQueues(database, state)
  await using _memory = memory
  await queues.lookForWork()
  const first = state.process
  const blocker = await pool.connect()
  await blocker.query('begin')
  await blocker.query(`insert into counters values ('repos/working', $1, 0)`, [counterWriter(first, 2)])
  const taking = queues.take(origin) // first what is due, whose claim waits for the row of counters, then the rest
  await untilLockWait(database)
  await pool.query('delete from processes where id = $1', [first])
  await pool.query('delete from host_leases')
  while (state.process === first) await sleep(20)
  await queues.lookForWork() // the host is leased again, so that the rest is claimed under the new number
  await blocker.query('commit')
  blocker.release()
  await taking
  await queues.releaseAll()
  await state.releaseDeadClaims()
  expect(await state.readBalance()).toMatchObject({ working: 0 })
  await state.end()
})

test('a repo that moves to a living host does not fail with its dead one', async () => {
  await using database = await openTestDatabase()
  const state = await openState(database)
  await rememberDead(database, state)
  const { rows } = await database.pool.query<{ id: number; host: number }>(
    'select id, host_id as host from repos order by id limit 1',
  )
  const [{ id = 0, host = 0 } = {}] = rows
  const mover = await database.pool.connect()
  await mover.query('begin')
  const changes = new CounterChanges()
  await moveRepos(mover, [{ repo: id, host: 'https://new.test', signingKey: 'did:key:zQ', handle: undefined }], changes)
  const failing = state.failHost(host, { code: 'HostDead', message: 'dead' })
  await untilLockWait(database)
  await changes.write(mover, 99)
  await mover.query('commit')
  mover.release()
  expect(await failing).toBe(1)
  expect(await state.readBalance()).toMatchObject({ waiting: 1, failed: 1 })
  await state.end()
})

async function nextTurn(hosts: Hosts): Promise<void> {
  for (let turn = hosts.next(); 'waitMs' in turn; turn = hosts.next()) await sleep(turn.waitMs ?? 1)
}
