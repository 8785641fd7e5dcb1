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

async function nextTurn(hosts: Hosts): Promise<void> {
  for (let turn = hosts.next(); 'waitMs' in turn; turn = hosts.next()) await sleep(turn.waitMs ?? 1)
}
