// Several indexers on one database: they share hosts, listings and the rest, and no death or pause of one of them shows.
import { setTimeout as sleep } from 'node:timers/promises'
import { type StepName, stepNames } from 'indexer/src/steps.ts'
import { openTestDatabase, type TestDatabase } from 'indexer/src/testing-database.ts'
import { createRandom } from 'repo-stream/fixtures'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { crawlTogether, hasStopped, type Member, signalGroup } from './crawl-together.ts'
import { type FakeNetwork, startFakeNetwork } from './fakes.ts'
import { inspectCrawl } from './inspect-crawl.ts'
import { limitHosts } from './limiting-hosts.ts'
import { shuffle } from './resume.ts'
import type { RunResult } from './run-indexer.ts'

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 1_000_000))
let network: FakeNetwork
let database: TestDatabase

beforeEach(async () => {
  database = await openTestDatabase({ migrated: false })
})

afterEach(async () => {
  await network?.close()
  await database?.close()
})

async function startNetwork(options: { accounts: number; pdsCount: number }): Promise<void> {
  network = await startFakeNetwork({ seed: 5, bigRepos: { count: 0, records: 0 }, relayPageLimit: 12, ...options })
}

/** Answers take a moment and come one after the other, so that several processes have the time to be at work. */
async function startSlowNetwork(): Promise<readonly string[]> {
  await startNetwork({ accounts: 60, pdsCount: 5 })
  network.intercept = async (request) => {
    if (request.method === 'com.atproto.sync.getRepo') await sleep(300)
    return undefined
  }
  return ['--host-concurrency', '1']
}

const reposOf = ({ stdout }: RunResult): number => (stdout === '' ? 0 : JSON.parse(stdout).repos)
const exitsOf = (results: readonly RunResult[]) => results.map(({ exitCode, signal }) => exitCode ?? signal)

test('three processes never make a host that limits requests say 429, and fetch no repo twice', async () => {
  await startNetwork({ accounts: 80, pdsCount: 1 })
  const hosts = limitHosts(network, { limit: 40, windowSeconds: 4 })
  const results = await crawlTogether({ network, database }, [{}, {}, {}])
  expect(exitsOf(results), results.map(({ stderr }) => stderr.slice(-1000)).join()).toEqual([0, 0, 0])
  expect(hosts.refused).toBe(0)
  expect([...network.requests.getRepo].filter(([, times]) => times > 1)).toEqual([])
  expect(await inspectCrawl(database, network)).toEqual([])
}, 120_000)

test('two processes that list different sources of one relay keep its limit together', async () => {
  await startNetwork({ accounts: 120, pdsCount: 2 })
  const relay = limitHosts(network, { limit: 8, windowSeconds: 4, of: 'relay' })
  const collections = ['post', 'like', 'follow', 'repost', 'block', 'threadgate', 'postgate', 'generator']
  const others = ['graph.follow', 'graph.block', 'graph.list', 'graph.listitem', 'actor.profile']
  const nsids = [...collections.map((name) => `app.bsky.feed.${name}`), ...others.map((name) => `app.bsky.${name}`)]
  const source = nsids.map((nsid) => `collection=${nsid}`).join()
  const listed = () => network.requests.byMethod.get('relay com.atproto.sync.listRepos') ?? 0
  const after = () => until(() => listed() >= 3)
  const results = await crawlTogether({ network, database }, [{}, { after, args: ['--source', source] }])
  expect(exitsOf(results), results.map(({ stderr }) => stderr.slice(-1000)).join()).toEqual([0, 0])
  expect(network.requests.byMethod.get('relay com.atproto.sync.listReposByCollection')).toBe(nsids.length)
  expect(relay.refused).toBe(0)
  expect(await inspectCrawl(database, network)).toEqual([])
}, 120_000)

test('when the process that asks a limiting host is killed, the next one goes on at its pace', async () => {
  await startNetwork({ accounts: 80, pdsCount: 1 })
  const hosts = limitHosts(network, { limit: 40, windowSeconds: 4 })
  const results = await crawlTogether({ network, database }, [{}, {}], async (members) => {
    await until(() => network.requests.getRepo.size >= 40)
    const { rows } = await database.pool.query<{ pid: number }>(
      `select split_part(place, ' ', 3)::int as pid from host_leases l join processes p on p.id = l.process`,
    )
    expect(members.map(({ pid }) => pid)).toContain(rows[0]?.pid)
    signalGroup(rows[0]?.pid ?? 0, 'SIGKILL')
  })
  expect(exitsOf(results).sort(), results.map(({ stderr }) => stderr.slice(-1000)).join()).toEqual([0, 'SIGKILL'])
  expect(hosts.refused).toBe(0)
  expect(await inspectCrawl(database, network)).toEqual([])
}, 120_000)

test('a process that comes later is given hosts, whose limits hold all the same', async () => {
  await startNetwork({ accounts: 300, pdsCount: 6 })
  const hosts = limitHosts(network, { limit: 20, windowSeconds: 4 })
  const { intercept } = network
  const together = Promise.withResolvers<void>()
  let pages = 0
  network.intercept = async (request, role) => {
    // Two thirds are listed only when both are there, so that the first cannot be done with most of them before.
    if (role.kind === 'relay' && pages++ >= 8) await together.promise
    return await intercept?.(request, role)
  }
  const after = () => until(() => network.requests.getRepo.size >= 20)
  const results = await crawlTogether({ network, database }, [{}, { after }], async () => {
    await until(async () => (await database.pool.query('select from processes')).rowCount === 2)
    together.resolve()
  })
  expect(exitsOf(results), results.map(({ stderr }) => stderr.slice(-1000)).join()).toEqual([0, 0])
  expect(hosts.refused).toBe(0)
  expect(
    results.map(reposOf).every((repos) => repos > 20),
    results.map(reposOf).join(),
  ).toBe(true)
  expect([...network.requests.getRepo].filter(([, times]) => times > 1)).toEqual([])
  expect(await inspectCrawl(database, network)).toEqual([])
}, 120_000)

let hits = 0

/** Each step once; in CI half of them, others with every seed. */
const allPairs = pairsOf(shuffle([...stepNames], createRandom(`processes ${seed}`)))
const pairs = process.env.CI ? allPairs.slice(0, Math.ceil(allPairs.length / 2)) : allPairs

function pairsOf(steps: StepName[]): [StepName, StepName][] {
  const half = Math.ceil(steps.length / 2)
  return steps.slice(0, half).map((step, index) => [step, steps[half + index] ?? step])
}

test.each(pairs)(
  `of three processes one is killed at %s and one at %s: the third one ends the crawl as it must be (SEED=${seed})`,
  async (first, second) => {
    const args = await startSlowNetwork()
    const killed = (step: StepName): Member => ({ args, killAt: { step, times: 1 } })
    const members = [killed(first), { ...killed(second), afterMs: 200 }, { args }]
    const results = await crawlTogether({ network, database }, members)
    const [one, two, last] = exitsOf(results)
    expect(last, results[2]?.stderr.slice(-3000)).toBe(0)
    expect([0, 'SIGKILL']).toContain(one)
    expect([0, 'SIGKILL']).toContain(two)
    hits += [one, two].filter((exit) => exit === 'SIGKILL').length
    expect(await inspectCrawl(database, network)).toEqual([])
  },
  120_000,
)

test('most of the blows have hit', () => {
  expect(hits, `SEED=${seed}`).toBeGreaterThan(pairs.length)
})

test.each(['before-commit', 'in-copy', 'before-claim', 'before-page-commit', 'before-resolved-commit'] as const)(
  'a process that was stopped at %s until it was taken for dead, and goes on, doubles nothing and ends in order',
  async (step) => {
    const args = await startSlowNetwork()
    let stopped = false
    const results = await crawlTogether(
      { network, database },
      [
        { args, killAt: { step, times: 1, stop: true } },
        { args, afterMs: 1_000 },
      ],
      async ([victim]) => {
        if (victim === undefined) return
        stopped = await hasStopped(victim)
        await untilForgotten(victim.pid)
        signalGroup(victim.pid, 'SIGCONT')
      },
    )
    expect(stopped).toBe(true)
    expect(exitsOf(results), results.map(({ stderr }) => stderr.slice(-2000)).join()).toEqual([0, 0])
    expect(results[0]?.stderr).toContain('taken for dead')
    expect(await inspectCrawl(database, network)).toEqual([])
  },
  120_000,
)

test('a process that was stopped while another one changed the config ends when it goes on, and writes nothing of its own', async () => {
  const args = await startSlowNetwork()
  let later: RunResult[] = []
  const killAt = { step: 'before-commit', times: 1, stop: true } as const
  const [stopped] = await crawlTogether({ network, database }, [{ args, killAt }], async ([victim]) => {
    if (victim === undefined || !(await hasStopped(victim))) return
    await sleep(2_500) // for longer than --dead-after
    later = await crawlTogether({ network, database }, [{ args: [...args, '--collections', 'garden.demo.*'] }])
    signalGroup(victim.pid, 'SIGCONT')
  })
  expect(exitsOf(later), later[0]?.stderr.slice(-2000)).toEqual([0])
  expect(stopped?.exitCode, stopped?.stderr.slice(-2000)).toBe(75)
  expect(stopped?.stderr).toContain('DatabaseBusy')
  expect((await database.pool.query('select * from processes')).rows).toEqual([])
  const { rows } = await database.pool.query(
    `select count(*)::int as left from repos where state not in ('done', 'gone')`,
  )
  expect(rows).toEqual([{ left: 0 }])
}, 120_000)

/** Until the other process has given away what this one held. */
const untilForgotten = (pid: number): Promise<void> =>
  until(async () => {
    const { rows } = await database.pool.query(`select from processes where split_part(place, ' ', 3) = $1`, [pid])
    return rows.length === 0
  })

/** The test's own time is the limit. */
async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(50)
}
