// What the tests of sources share: a fake network of five hosts whose listings have several pages, a database and a folder, new for each
// test (importing this sets that up), and crawls of them.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DemoAccount } from 'indexer/demo/population.ts'
import type { RunOptions, RunOutcome } from 'indexer/src/run.ts'
import { openTestDatabase, type TestDatabase } from 'indexer/src/testing-database.ts'
import { afterEach, beforeEach, expect, vi } from 'vitest'
import { compareWithTruth, crawlFake, readOutcomes } from './crawl-fake.ts'
import { type FakeNetwork, startFakeNetwork } from './fakes.ts'

vi.setConfig({ testTimeout: 120_000 }) // some crawl twice, and the machine may be busy

export let network: FakeNetwork
export let database: TestDatabase
export let folder: string

beforeEach(async () => {
  network = await startFakeNetwork({
    seed: 9,
    accounts: 60,
    pdsCount: 5,
    bigRepos: { count: 0, records: 0 },
    relayPageLimit: 8,
  })
  database = await openTestDatabase({ migrated: false })
  folder = await mkdtemp(join(tmpdir(), 'sources-'))
})

afterEach(async () => {
  await network?.close()
  await database?.close()
  await rm(folder, { recursive: true, force: true })
})

export const crawl = (source: string[], options: Partial<RunOptions> = {}): Promise<RunOutcome> =>
  crawlFake(network, database, {
    options: { source, ...options },
    handles: { dnsServers: ['127.0.0.1:1'], wellKnownUrl: (handle) => `${network.pdsUrls[0]}/.well-known/${handle}` },
  })

export const active = () => network.accounts.filter(({ status }) => status === 'active')
export const didsOf = (accounts: readonly DemoAccount[]) => accounts.map(({ did }) => did).sort()
export const asked = (method: string) => network.requests.byMethod.get(method) ?? 0

/** These accounts are done, with the rows of their repos, and there are no others but those that are gone. */
export async function expectDone(accounts: readonly DemoAccount[]): Promise<void> {
  const outcomes = await readOutcomes(database)
  const done = [...outcomes].filter(([, { state }]) => state !== 'gone')
  expect(new Set(done.map(([, { state }]) => state))).toEqual(new Set(['done']))
  expect(done.map(([did]) => did).sort()).toEqual(didsOf(accounts))
  expect(await compareWithTruth(database, network, accounts)).toEqual([])
}

export async function homesOf(): Promise<Map<string, string>> {
  const { rows } = await database.pool.query<{ did: string; pds: string }>('select did, pds from accounts')
  return new Map(rows.map(({ did, pds }) => [did, pds]))
}
