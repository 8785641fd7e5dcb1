// Listings and statuses of several processes, as two states on one database, against one host that counts.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { listRepos } from './fetch-pages.ts'
import { createHosts } from './hosts.ts'
import { unpacedHosts } from './hosts-limits.ts'
import { otherTurns } from './hosts-turns.ts'
import { openTestHttp, startTestServer } from './http-test-server.ts'
import { openState, type State } from './state.ts'
import { openTestDatabase, type TestDatabase } from './testing-database.ts'

let database: TestDatabase
const states: State[] = []

beforeEach(async () => {
  database = await openTestDatabase()
})
afterEach(async () => {
  for (const state of states.splice(0)) await state.end()
  await database?.close()
})

async function openProcess({ egress = '', signal = new AbortController().signal } = {}) {
  const state = await openState(database, { egress })
  states.push(state)
  const hosts = createHosts({ now: Date.now, maxInFlight: 8, limits: unpacedHosts })
  return { hosts, ...otherTurns(hosts, { state, signal }) }
}

/** It says its limit as a PDS does; it counts no one out, for on a busy machine requests arrive in bunches. */
async function startLimitingHost({ limit, windowMs }: { limit: number; windowMs: number }) {
  const headers = {
    'content-type': 'application/json',
    'ratelimit-limit': String(limit),
    'ratelimit-policy': `${limit};w=${windowMs / 1000}`,
  }
  return await startTestServer((_request, response) => void response.writeHead(200, headers).end('{"repos":[]}'))
}

const list = async (host: string, pages: number, process: Awaited<ReturnType<typeof openProcess>>) => {
  await using http = openTestHttp()
  for (let page = 0; page < pages; page++) await listRepos({ host }, { http, ...process })
}

test('three processes behind one address keep the limit of listings together, also those that have not been told of it', async () => {
  await using server = await startLimitingHost({ limit: 40, windowMs: 2000 })
  const first = await openProcess()
  await list(server.origin, 1, first) // now the limit is known
  const others = [await openProcess(), await openProcess()]
  const startMs = performance.now()
  await Promise.all([first, ...others].map((process) => list(server.origin, 20, process)))
  expect(performance.now() - startMs).toBeGreaterThan(2_800) // 60 requests; each for itself would take a second
})

test('turns that several processes take at once are an interval apart, but for the burst after a pause', async () => {
  const minute = { intervalMs: 60_000, burstMs: 120_000 }
  for (let process = 0; process < 3; process++) states.push(await openState(database))
  const take = async (turns: number): Promise<number[]> => {
    const taken = Array.from({ length: turns }, (_, index) => states[index % 3]?.takeTurn('https://a.example', minute))
    const waits = (await Promise.all(taken)).map((turn) => turn?.waitMs ?? Number.NaN)
    return waits.sort((a, b) => a - b).map((ms) => Math.round(ms / 60_000))
  }
  expect(await take(6)).toEqual([0, 1, 2, 3, 4, 5])
  await database.pool.query(`update host_turns set due_at = now() - interval '1 day'`)
  expect(await take(6)).toEqual([0, 0, 0, 1, 2, 3])
})

test('behind another address a process has a pace of its own', async () => {
  await using server = await startLimitingHost({ limit: 1000, windowMs: 100_000 })
  const one = await openProcess()
  const other = await openProcess({ egress: 'other' })
  for (const process of [one, other]) await list(server.origin, 2, process)
  const limits = { limit: 1000, windowMs: 100_000 }
  await expect
    .poll(async () => (await database.pool.query('select egress, limits from host_turns order by egress')).rows)
    .toEqual([
      { egress: '', limits },
      { egress: 'other', limits },
    ])
})

test('a pause that a host wants for listings is heeded by other processes, and after a restart', async () => {
  await using server = await startTestServer((_request, response) => {
    response.writeHead(429, { 'content-type': 'application/json', 'retry-after': '3000' }).end('{}')
  })
  const first = await openProcess()
  await expect(list(server.origin, 1, first)).rejects.toMatchObject({ code: 'RateLimited' })
  await expect
    .poll(async () => (await database.pool.query('select limits from host_turns')).rows)
    .toMatchObject([{ limits: { notBefore: expect.any(String), slowed: { scale: 0.7 } } }])
  for (const state of states.splice(0)) await state.end()
  const stop = new AbortController()
  const next = await openProcess({ signal: stop.signal })
  const turn = next.turn?.(server.origin)
  await expect.poll(() => next.hosts.nextOther(server.origin)).toMatchObject({ waitMs: expect.any(Number) })
  const waiting = next.hosts.nextOther(server.origin)
  expect('waitMs' in waiting && waiting.waitMs).toBeGreaterThan(2_000_000)
  stop.abort('stop')
  await expect(turn).rejects.toBe('stop')
})

test('one that wants a day of silence is not waited for, in this run or the next', async () => {
  let asked = 0
  await using server = await startTestServer((_request, response) => {
    asked++
    response.writeHead(429, { 'content-type': 'application/json', 'retry-after': '86400' }).end('{}')
  })
  const process = await openProcess()
  for (let times = 0; times < 2; times++)
    await expect(list(server.origin, 1, process)).rejects.toMatchObject({ code: 'RateLimited' })
  await expect
    .poll(async () => (await database.pool.query('select limits from host_turns')).rows[0]?.limits)
    .not.toBe(null)
  await expect(list(server.origin, 1, await openProcess())).rejects.toMatchObject({ code: 'RateLimited' })
  expect(asked).toBe(1)
})

test('paces listings by what the host says of them', async () => {
  await using server = await startLimitingHost({ limit: 50, windowMs: 1000 })
  const startMs = performance.now()
  await list(server.origin, 60, await openProcess())
  expect(performance.now() - startMs).toBeGreaterThan(1_000)
})

test.each(['10;w=86400', '1;w=1e14'])(
  'one that allows less than one request in an hour (%s) is left to the next run',
  async (policy) => {
    const headers = { 'content-type': 'application/json', 'ratelimit-policy': policy }
    await using server = await startTestServer(
      (_request, response) => void response.writeHead(200, headers).end('{"repos":[]}'),
    )
    const process = await openProcess()
    await list(server.origin, 1, process)
    const dueAt = async () => (await database.pool.query('select due_at as at from host_turns')).rows[0].at.getTime()
    await expect.poll(dueAt).toBeGreaterThan(Date.now() + 3_600_000)
    const firstDueAt = await dueAt()
    for (const asker of [process, process, await openProcess()])
      await expect(list(server.origin, 1, asker)).rejects.toMatchObject({ code: 'RateLimited' })
    expect(server.asked).toHaveLength(1)
    expect(await dueAt()).toBe(firstDueAt) // or runs that look again often would never ask it again
  },
)
