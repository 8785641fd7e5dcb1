// Faults that come together: one behind the other, on one host, or in two spellings. What each is by itself the other tests say; here
// neither may hide the other, and nobody else may pay for them.
import { json, type Reply, xrpcError } from 'indexer/demo/server.ts'
import type { RunOptions } from 'indexer/src/run.ts'
import { openTestDatabase, type TestDatabase } from 'indexer/src/testing-database.ts'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { compareWithTruth, crawlFake, readOutcomes } from './crawl-fake.ts'
import type { RepoFault } from './fake-repos.ts'
import { type FakeNetwork, startFakeNetwork } from './fakes.ts'

vi.setConfig({ testTimeout: 120_000 })

let network: FakeNetwork
let database: TestDatabase

beforeEach(async () => {
  network = await startFakeNetwork({
    seed: 17,
    accounts: 40,
    pdsCount: 3,
    bigRepos: { count: 0, records: 0 },
    relayPageLimit: 10,
  })
  database = await openTestDatabase({ migrated: false })
})

afterEach(async () => {
  await network?.close()
  await database?.close()
})

const active = () => network.accounts.filter(({ status }) => status === 'active')

async function crawl(options: Partial<RunOptions> = {}): Promise<number> {
  const httpLimits = {
    maxBodyBytes: 64 * 1024 ** 2,
    headersTimeoutMs: 1000,
    bodyIdleTimeoutMs: 1000,
    minimumRateWindowMs: 2000,
  }
  return (await crawlFake(network, database, { options: { maxAttempts: 2, ...options }, httpLimits })).exitCode
}

/** All but these are done, with the rows of their repos. */
async function expectOthersDone(except: readonly { did: string }[] = []): Promise<void> {
  const outcomes = await readOutcomes(database)
  const others = active().filter((account) => !except.includes(account))
  for (const { did } of others) expect(outcomes.get(did), did).toMatchObject({ state: 'done' })
  expect(await compareWithTruth(database, network, others)).toEqual([])
}

describe('behind a redirect', () => {
  test.each<[RepoFault, RegExp]>([
    ['gzip bomb', /CompressionBomb/],
    ['endless', /BodyTooBig/],
    ['trickle', /BodyTooSlow/],
    ['stall', /BodyStalled/],
    ['no answer', /HeadersTimeout/],
    ['wrong encoding', /BadEncoding/],
    ['empty', /CarTruncated|BadResponse/],
    ['wrong account', /WrongRepo/],
    ['bad signature', /BadSignature/],
    ['redirect loop', /TooManyRedirects/],
    ['status 404', /RepoNotFound/],
  ])('"%s" is what it is without one', async (fault, code) => {
    const [account] = active()
    if (!account) throw new Error('an account')
    network.repoFault(account, fault)
    const elsewhere = network.pdsUrls[account.pds]
    network.intercept = (request, role): Reply | undefined => {
      if (role.kind !== 'pds' || request.method !== 'com.atproto.sync.getRepo') return undefined
      if (request.params.get('did') !== account.did || request.params.has('second')) return undefined
      const location = `${elsewhere}/xrpc/com.atproto.sync.getRepo?did=${account.did}&second=1`
      return { status: 307, headers: { location } }
    }
    expect(await crawl()).toBe(0)
    expect((await readOutcomes(database)).get(account.did)?.code).toMatch(code)
    await expectOthersDone([account])
  })
})

test('a host that redirects to another one gets it no request; who has moved there is fetched by its document', async () => {
  const here = active().filter(({ pds }) => pds === 0)
  const [moved, ...others] = here
  if (!moved || others.length < 5) throw new Error('a host with six accounts')
  const askedAt = new Map<string | null, Set<number>>()
  network.intercept = (request, role): Reply | undefined => {
    if (role.kind !== 'pds' || request.method !== 'com.atproto.sync.getRepo') return undefined
    const did = request.params.get('did')
    askedAt.set(did, (askedAt.get(did) ?? new Set()).add(role.index))
    if (role.index !== 0) return undefined
    network.migrate(moved, 1) // resolved at the old host
    return { status: 302, headers: { location: `${network.pdsUrls[1]}/xrpc/com.atproto.sync.getRepo?did=${did}` } }
  }
  expect(await crawl({ verify: 'full' })).toBe(0)
  for (const { did } of others) expect(askedAt.get(did) ?? new Set([0]), did).toEqual(new Set([0]))
  const outcomes = await readOutcomes(database)
  for (const { did } of others)
    expect(outcomes.get(did)).toMatchObject({
      state: 'failed',
      code: expect.stringMatching(/^(RedirectElsewhere|HostDead)$/),
    })
  await expectOthersDone(others) // with the one that has moved
})

test('a host that fails until it cools down, and then has an endless repo, costs that repo alone', async () => {
  const [account, ...others] = active().filter(({ pds }) => pds === 1)
  if (!account || others.length < 5) throw new Error('a host with six accounts')
  network.repoFault(account, 'endless')
  let failures = 8
  network.intercept = (request, role) =>
    role.kind === 'pds' && role.index === 1 && request.method === 'com.atproto.sync.getRepo' && failures-- > 0
      ? xrpcError(502, 'UpstreamFailure', 'no')
      : undefined
  expect(await crawl({ maxAttempts: 12 })).toBe(0)
  expect((await readOutcomes(database)).get(account.did)).toMatchObject({ state: 'failed', code: 'BodyTooBig' })
  await expectOthersDone([account])
})

test('a relay that names a host in two spellings: each account is fetched once or twice, and is where its document says', async () => {
  network.intercept = (request, role) => {
    if (role.kind !== 'relay' || request.method !== 'com.atproto.sync.listHosts') return undefined
    const names = network.pdsUrls.flatMap((url) => {
      const { host, port } = new URL(url)
      return [host, `localhost:${port}`, `LOCALHOST.:${port}`]
    })
    return json(200, { hosts: names.map((hostname) => ({ hostname, status: 'active' })) })
  }
  for (const verify of ['full', 'structure'] as const) expect(await crawl({ source: ['hosts'], verify })).toBe(0)
  await expectOthersDone()
  for (const { did } of active()) expect(network.requests.getRepo.get(did), did).toBeLessThanOrEqual(2)
  const { rows } = await database.pool.query(`select count(*)::int as hosts from sources where name like 'host http%'`)
  expect(rows).toEqual([{ hosts: 6 }])
})

test.each([
  ['a negative retry-after', { 'retry-after': '-5' }],
  ['a date that has passed', { 'retry-after': new Date(0).toUTCString() }],
  ['a date a second ahead', { 'retry-after': new Date(Date.now() + 1000).toUTCString() }],
  ['a reset in milliseconds that has passed', { 'ratelimit-remaining': '0', 'ratelimit-reset': String(Date.now()) }],
  [
    'a reset that has passed',
    { 'ratelimit-limit': '6000', 'ratelimit-remaining': '0', 'ratelimit-reset': '1700000000' },
  ],
  [
    'a reset in milliseconds to wait',
    { 'ratelimit-policy': '1000;w=1', 'ratelimit-remaining': '0', 'ratelimit-reset': '900' },
  ],
])('a 429 with %s is waited for, not for ever, for repos and listings', async (_, headers) => {
  const refuse = new Set(['pds 0 getRepo', 'pds 1 getRepo', 'relay listRepos'])
  network.intercept = (request, role) => {
    const name = `${role.kind === 'pds' ? `pds ${role.index}` : role.kind} ${request.method.split('.').at(-1)}`
    return refuse.delete(name) ? json(429, { error: 'RateLimitExceeded', message: 'x' }, { ...headers }) : undefined
  }
  expect(await crawl({ maxAttempts: 4 })).toBe(0)
  expect(refuse.size).toBe(0)
  await expectOthersDone()
})

test('200 and no bytes where a listing should be is asked again', async () => {
  let empty = 3
  network.intercept = (request) =>
    request.method.includes('listRepos') && empty-- > 0
      ? { status: 200, headers: { 'content-type': 'application/json' }, body: '' }
      : undefined
  expect(await crawl({ source: ['relay', 'hosts'], maxAttempts: 6 })).toBe(0)
  await expectOthersDone()
})

test('a hundred sources at once are listed side by side, and an account that all of them name is fetched once', async () => {
  const sources = Array.from({ length: 97 }, (_, index) => `collection=com.example.nobody${index}`)
  expect(await crawl({ source: [...sources, 'collection=app.bsky.feed.post', 'relay', 'hosts'] })).toBe(0)
  await expectOthersDone()
  for (const { did } of active()) expect(network.requests.getRepo.get(did)).toBe(1)
})
