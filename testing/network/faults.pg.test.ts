// One crawl of a network in which every account meets another fault: what became of each is a named test. Each lives on
// a host of its own, so that one host's cool-down is not the other's.
import type { DemoAccount } from 'indexer/demo/population.ts'
import type { RunOutcome } from 'indexer/src/run.ts'
import { openTestDatabase, type TestDatabase } from 'indexer/src/testing-database.ts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { compareWithTruth, crawlFake, type Outcome, readOutcomes } from './crawl-fake.ts'
import type { IdentityFault } from './fake-identities.ts'
import type { RepoFault } from './fake-repos.ts'
import { type FakeNetwork, startFakeNetwork } from './fakes.ts'

interface Expected {
  readonly state: 'done' | 'failed' | 'gone'
  readonly code?: string | RegExp
  /** getRepo requests: 1 where asking again is useless, all attempts where the fault may pass. */
  readonly requests?: number
  readonly status?: string
}

const attempts = 2

/** The host does it every time. */
const lasting: ReadonlyArray<readonly [fault: RepoFault, expected: Expected]> = [
  ['cut at a block', { state: 'failed', code: /MissingBlock|MissingCommit/, requests: attempts }],
  ['cut in a block', { state: 'failed', code: 'CarTruncated', requests: attempts }],
  ['connection cut', { state: 'failed', code: 'ConnectionLost', requests: attempts }],
  ['connection reset', { state: 'failed', code: /ConnectionLost|ConnectFailed/, requests: attempts }],
  ['trickle', { state: 'failed', code: 'BodyTooSlow', requests: attempts }],
  ['stall', { state: 'failed', code: 'BodyStalled', requests: attempts }],
  ['no answer', { state: 'failed', code: 'HeadersTimeout', requests: attempts }],
  ['endless', { state: 'failed', code: 'BodyTooBig', requests: 1 }],
  ['gzip bomb', { state: 'failed', code: 'CompressionBomb', requests: 1 }],
  ['wrong encoding', { state: 'failed', code: 'BadEncoding', requests: attempts }],
  ['redirect', { state: 'done', requests: 2 }],
  ['redirect loop', { state: 'failed', code: 'TooManyRedirects' }],
  ['html', { state: 'failed', code: 'BadResponse', requests: attempts }],
  ['empty', { state: 'failed', code: /CarTruncated|BadResponse/, requests: attempts }],
  ['header only', { state: 'failed', code: 'MissingCommit', requests: attempts }],
  ['wrong account', { state: 'failed', code: 'WrongRepo', requests: 1 }],
  ['flipped byte', { state: 'failed', code: 'BlockHashMismatch', requests: 1 }],
  ['bad signature', { state: 'failed', code: 'BadSignature', requests: 1 }],
  ['future rev', { state: 'failed', code: 'RevInFuture', requests: 1 }],
  ['no roots', { state: 'failed', code: 'CarRootsInvalid', requests: 1 }],
  ['two roots', { state: 'failed', code: 'CarRootsInvalid', requests: 1 }],
  ['CAR version 2', { state: 'failed', code: 'CarHeaderInvalid', requests: 1 }],
  ['bytes behind the last block', { state: 'failed', code: 'SectionInvalid', requests: 1 }],
  ['a block of petabytes', { state: 'failed', code: 'LimitExceeded', requests: 1 }],
  ['repeated blocks', { state: 'done', requests: 1 }],
  ['commit of version 2', { state: 'failed', code: 'CommitVersionUnsupported', requests: 1 }],
  ['keys out of order', { state: 'failed', code: 'KeyOrderInvalid', requests: 1 }],
  ['key at the wrong depth', { state: 'failed', code: 'KeyDepthInvalid', requests: 1 }],
  ['tree without end', { state: 'failed', code: 'LimitExceeded', requests: 1 }],
  ['node that is its own child', { state: 'failed', code: 'BlockHashMismatch', requests: 1 }],
  ['status 400', { state: 'failed', code: 'XrpcRefused', requests: 1 }],
  ['status 400 html', { state: 'failed', code: /BadResponse|XrpcRefused/ }],
  ['status 401', { state: 'failed', code: 'HostRefused', requests: attempts }],
  ['status 401 html', { state: 'failed', code: 'HostRefused', requests: attempts }],
  ['status 403', { state: 'failed', code: 'HostRefused', requests: attempts }],
  ['status 403 html', { state: 'failed', code: 'HostRefused', requests: attempts }],
  ['status 404', { state: 'gone', code: 'RepoNotFound', requests: 1 }],
  ['status 404 html', { state: 'failed', code: /BadResponse|XrpcRefused/ }],
  ['status 500', { state: 'failed', code: 'HostError', requests: attempts }],
  ['status 502 html', { state: 'failed', code: 'HostError', requests: attempts }],
  ['status 503', { state: 'failed', code: 'HostError', requests: attempts }],
]

/** The host does it once; asked again, it serves the repo. */
const passing: readonly RepoFault[] = [
  'cut at a block',
  'cut in a block',
  'connection cut',
  'connection reset',
  'trickle',
  'stall',
  'no answer',
  'wrong encoding',
  'html',
  'header only',
  'rate limited',
  'status 500',
  'status 502 html',
]

const identities: ReadonlyArray<readonly [fault: IdentityFault, expected: Expected]> = [
  ['not registered', { state: 'failed', code: 'DidNotFound' }],
  ['tombstone', { state: 'gone', code: 'DidTombstoned' }],
  ["another DID's document", { state: 'failed', code: 'DidDocumentInvalid' }],
  ['no PDS', { state: 'failed', code: 'DidDocumentInvalid' }],
  ['no key', { state: 'failed', code: 'DidDocumentInvalid' }],
  ['unusable key', { state: 'failed', code: /DidDocumentInvalid|KeyUnusable/ }],
  ['PDS without a name', { state: 'failed', code: /DnsFailed|ConnectFailed/ }],
  ['PDS speaks no TLS', { state: 'failed', code: 'TlsFailed' }],
  ['PDS is no URL', { state: 'failed', code: /DidDocumentInvalid|HostInvalid/ }],
  ['relative ids', { state: 'done' }],
  ['no handle', { state: 'done' }],
  ['old key', { state: 'failed', code: 'BadSignature' }],
]

const passingIdentities: readonly IdentityFault[] = ['old key', 'refuses us', 'fails', 'html', 'rate limit']

let network: FakeNetwork
let database: TestDatabase
let run: RunOutcome
let outcomes: Map<string, Outcome>
const accountOf = new Map<string, DemoAccount>()
const faulty = lasting.length + passing.length + identities.length + passingIdentities.length

beforeAll(async () => {
  const accounts = faulty * 2
  network = await startFakeNetwork({
    seed: 5,
    accounts,
    pdsCount: accounts,
    bigRepos: { count: 0, records: 0 },
    relayPageLimit: 40,
  })
  const free = network.accounts
    .filter(({ status, counts }) => status === 'active' && counts['app.bsky.feed.post'] > 2)
    .values()
  const next = (name: string): DemoAccount => {
    const account = free.next().value
    if (account === undefined) throw new Error('too few accounts for all faults')
    accountOf.set(name, account)
    return account
  }
  for (const [fault] of lasting) network.repoFault(next(`host: ${fault}`), fault)
  for (const fault of passing) network.repoFault(next(`host, once: ${fault}`), fault, 1)
  for (const [fault] of identities) network.identityFault(next(`directory: ${fault}`), fault)
  for (const fault of passingIdentities) network.identityFault(next(`directory, once: ${fault}`), fault, 1)
  database = await openTestDatabase({ migrated: false })
  run = await crawlFake(network, database, {
    options: { maxAttempts: attempts },
    httpLimits: {
      headersTimeoutMs: 4000,
      bodyIdleTimeoutMs: 4000,
      minimumBytesPerSecond: 1024,
      minimumRateWindowMs: 5000,
      maxBodyBytes: 20 * 1024 * 1024,
      expansionFreeBytes: 1024 * 1024,
    },
  })
  outcomes = await readOutcomes(database)
}, 120_000)

afterAll(async () => {
  await network?.close()
  await database?.close()
})

function outcomeOf(name: string): Outcome & { requests: number } {
  const did = accountOf.get(name)?.did ?? ''
  const outcome = outcomes.get(did)
  if (outcome === undefined) throw new Error(`${name}: the account is not in the database`)
  return { ...outcome, requests: network.requests.getRepo.get(did) ?? 0 }
}

function expectOutcome(name: string, { state, code, requests }: Expected): void {
  const outcome = outcomeOf(name)
  expect(outcome.state, JSON.stringify(outcome)).toBe(state)
  if (code !== undefined) expect(outcome.code).toMatch(code)
  if (requests !== undefined) expect(outcome.requests).toBe(requests)
  if (state !== 'done') expect(outcome.records).toBe(0)
}

test('the run goes on whatever single hosts do, and ends with success', () => {
  expect(run.exitCode).toBe(0)
})

test.each(lasting)('a host that always does this to a repo, "%s", ends in its outcome', (fault, expected) => {
  expectOutcome(`host: ${fault}`, expected)
})

test.each(passing)('a host that does this once, "%s", is asked again and its repo is done', (fault) => {
  expectOutcome(`host, once: ${fault}`, { state: 'done', requests: 2 })
})

test.each(identities)('a directory that says this of a DID, "%s", ends in its outcome', (fault, expected) => {
  expectOutcome(`directory: ${fault}`, expected)
})

test.each(passingIdentities)('a directory that says this once, "%s", is asked again and the repo is done', (fault) => {
  expectOutcome(`directory, once: ${fault}`, { state: 'done' })
})

test('accounts that are gone are known with their status', () => {
  const gone = network.accounts.filter(({ status, relayKnows }) => status !== 'active' && !relayKnows)
  for (const { did, status } of gone) {
    expect(outcomes.get(did)).toMatchObject({ state: 'gone', status, records: 0 })
  }
})

test('nothing is half-written: the tables hold the whole repos that are done, and nothing else', async () => {
  const done = network.accounts.filter(({ did }) => outcomes.get(did)?.state === 'done')
  const untouched = network.accounts.filter(
    (account) => ![...accountOf.values()].includes(account) && account.status === 'active',
  )
  expect(untouched.filter((account) => !done.includes(account)).map(({ did }) => outcomes.get(did))).toEqual([])
  expect(await compareWithTruth(database, network, done)).toEqual([])
})

test('the states of all repos add up to those that were listed', async () => {
  const { rows } = await database.pool.query<{ name: string; value: string }>(
    `select name, sum(value) as value from counters where name = 'discovered' or name like 'repos/%' group by name`,
  )
  const values = new Map(rows.map(({ name, value }) => [name, Number(value)]))
  const discovered = values.get('discovered')
  values.delete('discovered')
  expect([...values.values()].reduce((sum, value) => sum + value, 0)).toBe(discovered)
  expect(discovered).toBe(outcomes.size)
})
