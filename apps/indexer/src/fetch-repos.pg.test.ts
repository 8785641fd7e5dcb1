import { expect, test } from 'vitest'
import { IndexerError } from './errors.ts'
import { fetchRepos } from './fetch-repos.ts'
import { createHosts } from './hosts.ts'
import { keepHosts } from './hosts-memory.ts'
import { openTestHttp } from './http-test-server.ts'
import { openLog } from './log.ts'
import { MemoryBudget } from './memory-budget.ts'
import { createResolver } from './resolve.ts'
import { RunMetrics } from './run-metrics.ts'
import { openState } from './state.ts'
import { openTestDatabase } from './testing-database.ts'
import { News } from './wakeup.ts'

test('a process that has fetched all, and goes on with other work, keeps no host and wants none', async () => {
  await using database = await openTestDatabase()
  await using http = openTestHttp()
  const state = await openState(database)
  await state.readSource('relay')
  await state.commitPage({
    ...{ source: 'relay', cursor: 'c1', finished: true, host: 'https://pds.test' },
    repos: [{ did: 'did:plc:a', active: true }],
  })
  const hosts = createHosts({ now: Date.now, maxInFlight: 8 })
  await using memory = await keepHosts(hosts, database)
  let idleLooks = 0
  await fetchRepos({
    ...{ state, hosts, saveHosts: memory.save, flush: () => {}, metrics: new RunMetrics(), resolved: new News() },
    ...{
      budget: new MemoryBudget(1e6),
      spills: new MemoryBudget(1e6),
      resolver: createResolver({ http, plcUrls: [] }),
    },
    indexRepo: async () => {
      throw new IndexerError('XrpcRefused', 'not this one')
    },
    onFailure: () => {},
    log: openLog({ json: true, level: 'fatal' }),
    retry: { baseDelayMs: 10, maxAttempts: 1 },
    signal: new AbortController().signal,
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
