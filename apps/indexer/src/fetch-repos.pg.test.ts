import { expect, test, vi } from 'vitest'
import { IndexerError } from './errors.ts'
import { fetchRepos } from './fetch-repos.ts'
import { createHosts } from './hosts.ts'
import { keepHosts } from './hosts-memory.ts'
import { openTestHttp, startTestServer } from './http-test-server.ts'
import { openLog } from './log.ts'
import { MemoryBudget } from './memory-budget.ts'
import { createResolver, type Resolver } from './resolve.ts'
import type { RetryPolicy } from './retry-policy.ts'
import { RunMetrics } from './run-metrics.ts'
import { openState, type State } from './state.ts'
import { steadyNow } from './steady-clock.ts'
import { openTestDatabase } from './testing-database.ts'
import { openTestCrawl, type TestCrawl } from './testing-database-repos.ts'
import { News } from './wakeup.ts'

/** What fetching needs beside the crawl's own, for a host that refuses every repo. */
function contextOf({ state, maxInFlight = 8 }: { state: State; maxInFlight?: number }) {
  return {
    ...{ state, hosts: createHosts({ now: steadyNow, maxInFlight }), saveHosts: async () => {}, flush: () => {} },
    ...{ metrics: new RunMetrics(), resolved: new News(), onFailure: () => {} },
    ...{ budget: new MemoryBudget(1e6), spills: new MemoryBudget(1e6) },
    indexRepo: async () => {
      throw new IndexerError('XrpcRefused', 'not this one')
    },
    log: openLog({ json: true, level: 'fatal' }),
    retry: { baseDelayMs: 10, maxAttempts: 1 },
    signal: AbortSignal.timeout(20_000),
  }
}

/** Fetches all repos of a crawl; their host has none of them. */
async function fetchNone(
  { state, claims }: TestCrawl,
  { resolver, maxInFlight, retry }: { resolver: Resolver; maxInFlight: number; retry: RetryPolicy },
): Promise<void> {
  await state.releaseClaims(claims)
  let looks = 0
  await fetchRepos({
    ...contextOf({ state, maxInFlight }),
    ...{ resolver, retry },
    indexRepo: async () => {
      throw new IndexerError('RepoNotFound', 'it is not here any more')
    },
    moreToCome: async () => looks++ < 3,
  })
}

test('nobody is taken for gone while the directory cannot tell whether the account has moved', async () => {
  await using crawl = await openTestCrawl(1)
  await using http = openTestHttp()
  await using plc = await startTestServer((_request, response) => void response.writeHead(503).end('{}'))
  const resolver = createResolver({ http, plcUrls: [plc.origin], limits: { backOffMs: 1 } })
  await fetchNone(crawl, { resolver, maxInFlight: 8, retry: { baseDelayMs: 60_000, maxAttempts: 5 } })
  const { rows } = await crawl.database.pool.query('select state, status, error_code, attempts from repos')
  expect(rows).toEqual([{ state: 'retry', status: null, error_code: 'PlcUnavailable', attempts: 1 }])
})

test('a repo that the directory could not be asked about, since it limits requests, is tried again at that time without an attempt', async () => {
  await using crawl = await openTestCrawl(3)
  await using http = openTestHttp()
  await using plc = await startTestServer(
    (_request, response) => void response.writeHead(429, { 'retry-after': '1000' }).end('{}'),
  )
  const resolver = createResolver({ http, plcUrls: [plc.origin] })
  await fetchNone(crawl, { resolver, maxInFlight: 1, retry: { baseDelayMs: 1, maxAttempts: 1 } })
  const { rows } = await crawl.database.pool.query(`
    select state, error_code, attempts, round(extract(epoch from retry_at - now()) / 100)::int as hundred_seconds
    from repos`)
  expect(rows).toEqual(
    Array(3).fill({ state: 'retry', error_code: 'PlcUnavailable', attempts: 0, hundred_seconds: 10 }),
  )
})

test('a process that has fetched all, and goes on with other work, keeps no host and wants none', async () => {
  await using database = await openTestDatabase()
  await using http = openTestHttp()
  const state = await openState(database)
  await state.readSource('relay')
  await state.commitPage({
    ...{ source: 'relay', cursor: 'c1', finished: true, host: 'https://pds.test' },
    repos: [{ did: 'did:plc:a', active: true }],
  })
  const context = contextOf({ state })
  await using memory = await keepHosts(context.hosts, database)
  let idleLooks = 0
  await fetchRepos({
    ...context,
    saveHosts: memory.save,
    resolver: createResolver({ http, plcUrls: [] }),
    // Idle at its last look: others may still resolve.
    moreToCome: async () => {
      const { rowCount } = await database.pool.query(`select from processes where idle_since is not null`)
      return rowCount === 0 && idleLooks++ < 100
    },
  })
  expect(await state.readBalance()).toMatchObject({ failed: 1 })
  expect((await database.pool.query('select * from host_leases')).rows).toEqual([])
  expect((await database.pool.query('select idle_since from processes')).rows).toEqual([{ idle_since: null }])
  await state.end()
})

test('a clock that is put back by hours holds nothing up: repos that are listed meanwhile are found, and asked for', async () => {
  await using database = await openTestDatabase()
  await using http = openTestHttp()
  const state = await openState(database)
  await state.readSource('relay')
  const list = (name: string) =>
    state.commitPage({
      ...{ source: 'relay', cursor: name, finished: false, host: `https://${name}.test` },
      repos: [{ did: `did:plc:${name}`, active: true }],
    })
  await list('first')
  const context = contextOf({ state })
  await using memory = await keepHosts(context.hosts, database)
  const asked: string[] = []
  const { now } = Date
  using clock = vi.spyOn(Date, 'now')
  await fetchRepos({
    ...context,
    saveHosts: memory.save,
    resolver: createResolver({ http, plcUrls: [] }),
    indexRepo: async ({ did }) => {
      asked.push(did)
      clock.mockImplementation(() => now() - 2 * 3_600_000)
      if (asked.length === 1) for (const name of ['second', 'third']) await list(name)
      throw new IndexerError('XrpcRefused', 'not this one')
    },
    moreToCome: () => state.fetchesLeft(),
  })
  expect(asked.toSorted()).toEqual(['did:plc:first', 'did:plc:second', 'did:plc:third'])
  await state.end()
})

test('a run that is ended counts no attempt of what was under way, and keeps no claim of what was not', async () => {
  await using database = await openTestDatabase()
  await using http = openTestHttp()
  const state = await openState(database)
  await state.readSource('relay')
  const repos = Array.from({ length: 5 }, (_, index) => ({ did: `did:plc:${index}`, active: true }))
  await state.commitPage({ source: 'relay', cursor: 'c1', finished: true, host: 'https://pds.test', repos })
  const stop = new AbortController()
  const fetching = fetchRepos({
    ...contextOf({ state, maxInFlight: 1 }),
    resolver: createResolver({ http, plcUrls: [] }),
    indexRepo: async () => {
      stop.abort(new Error('enough'))
      throw new IndexerError('ConnectionLost', 'cut by the end of the run')
    },
    signal: stop.signal,
    moreToCome: async () => true,
  })
  await expect(fetching).rejects.toThrow('enough')
  expect(await state.readBalance()).toMatchObject({ waiting: 5, working: 0, retry: 0, failed: 0 })
  expect((await database.pool.query('select distinct attempts from repos')).rows).toEqual([{ attempts: 0 }])
  await state.end()
})

test('a process that cannot be sure of its leases asks no host until a beat has told', async () => {
  await using crawl = await openTestCrawl(1)
  await using http = openTestHttp()
  await crawl.state.releaseClaims(crawl.claims)
  let isSure = false
  const sureAtRequests: boolean[] = []
  const state = Object.create(crawl.state, { isSure: { get: () => isSure } }) as typeof crawl.state
  let looks = 0
  await fetchRepos({
    ...contextOf({ state }),
    resolver: createResolver({ http, plcUrls: [] }),
    indexRepo: async () => {
      sureAtRequests.push(isSure)
      throw new IndexerError('XrpcRefused', 'not this one')
    },
    moreToCome: async () => {
      isSure = ++looks > 2
      return await crawl.state.fetchesLeft()
    },
  })
  expect(sureAtRequests).toEqual([true])
})
