// Accounts that vanish from listings: some were deleted, some are only left out, some have moved, and some hosts do not say. One crawl
// that knows everybody, then another one after which the tables must hold who is left.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DemoAccount } from 'indexer/demo/population.ts'
import { json, type Reply, xrpcError } from 'indexer/demo/server.ts'
import type { RunOptions } from 'indexer/src/run.ts'
import { openTestDatabase, type TestDatabase } from 'indexer/src/testing-database.ts'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { compareWithTruth, crawlFake, readOutcomes } from './crawl-fake.ts'
import { crawlTogether } from './crawl-together.ts'
import { html } from './fake-repos.ts'
import { type FakeNetwork, startFakeNetwork } from './fakes.ts'
import { startIndexer } from './run-indexer.ts'

vi.setConfig({ testTimeout: 120_000 })

let network: FakeNetwork
let database: TestDatabase

beforeEach(async () => {
  network = await startFakeNetwork({
    seed: 11,
    accounts: 50,
    pdsCount: 4,
    bigRepos: { count: 0, records: 0 },
    relayPageLimit: 8,
  })
  database = await openTestDatabase({ migrated: false })
})

afterEach(async () => {
  await network?.close()
  await database?.close()
})

const active = () => network.accounts.filter(({ status }) => status === 'active')
const asked = (method: string) => network.requests.byMethod.get(method) ?? 0

async function crawl(source: string, options: Partial<RunOptions> = {}): Promise<void> {
  const { exitCode } = await crawlFake(network, database, { options: { source: [source], ...options } })
  expect(exitCode).toBe(0)
}

/** Of the active accounts these have lost their rows with this status; all others are as they were. */
async function expectGone(gone: readonly DemoAccount[], status = 'deleted'): Promise<void> {
  const outcomes = await readOutcomes(database)
  for (const account of active()) {
    const wanted = gone.includes(account) ? { state: 'gone', status } : { state: 'done', status: 'active' }
    expect(outcomes.get(account.did), account.did).toMatchObject(wanted)
  }
  const left = active().filter((account) => !gone.includes(account))
  expect(await compareWithTruth(database, network, left)).toEqual([])
  expect((await database.pool.query('select * from unlisted')).rows).toEqual([])
}

describe.each(['hosts', 'relay'])('%s', (source) => {
  test('deleted accounts lose their rows in the next pass, and no repo is fetched for it', async () => {
    await crawl(source)
    const removed = active().filter((_, index) => index % 5 === 0)
    for (const account of removed) network.remove(account)
    network.requests.getRepo.clear()
    await crawl(source)
    await expectGone(removed)
    for (const { did } of active()) expect(network.requests.getRepo.get(did), did).toBeUndefined()
    const { rows } = await database.pool.query('select count(distinct repo)::int as repos from profile_rows')
    expect(rows[0]?.repos).toBeLessThanOrEqual(active().length - removed.length)
  })

  test('an account that is only left out keeps its rows, is asked for once, and listed again nothing happens', async () => {
    await crawl(source)
    const omitted = active().filter((_, index) => index % 6 === 0)
    for (const account of omitted) network.omit(account)
    await crawl(source)
    await expectGone([])
    expect(asked('pds com.atproto.sync.getRepoStatus')).toBe(omitted.length)
    await crawl(source)
    for (const account of omitted) network.omit(account, false)
    await crawl(source)
    await expectGone([])
    expect(asked('pds com.atproto.sync.getRepoStatus')).toBe(omitted.length)
  })

  test('one that has moved is fetched from where its DID document says, whatever its old host answers', async () => {
    await crawl(source)
    const [first, second] = active()
    if (!first || !second) throw new Error('two accounts')
    for (const account of [first, second]) network.migrate(account, (account.pds + 1) % network.pdsUrls.length)
    network.intercept = (request, role) => {
      const account = [first, second].find(({ did }) => did === request.params.get('did'))
      return role.kind === 'pds' && account?.pds === role.index
        ? xrpcError(400, 'RepoNotFound', 'It is not here')
        : undefined
    }
    for (const account of [first, second]) network.omit(account)
    await crawl(source)
    await expectGone([])
    const { rows } = await database.pool.query<{ did: string; pds: string }>(
      'select did, pds from accounts where did = any($1)',
      [[first.did, second.did]],
    )
    const homes = new Map(rows.map(({ did, pds }) => [did, pds]))
    for (const { did, pds } of [first, second])
      expect(homes.get(did)).toBe(network.pdsUrls[(pds + 1) % network.pdsUrls.length])
  })
})

test('the status that the host gives is kept, and rows of inactive accounts are hidden', async () => {
  await crawl('relay')
  const [account] = active()
  if (!account) throw new Error('an account')
  network.omit(account)
  network.intercept = (request) =>
    request.method === 'com.atproto.sync.getRepoStatus'
      ? json(200, { did: account.did, active: false, status: 'suspended' })
      : undefined
  await crawl('relay')
  await expectGone([account], 'suspended')
  const { rows } = await database.pool.query('select sum(records)::int as records from repos where did = $1', [
    account.did,
  ])
  expect(rows[0]?.records).toBeGreaterThan(0)
})

const vague: [string, () => Reply][] = [
  ['500', () => xrpcError(500, 'InternalServerError', 'no')],
  ['404 and no JSON', () => html(404)],
  ['200 and HTML', () => html(200)],
  ['200 and no JSON', () => ({ status: 200, headers: { 'content-type': 'application/json' }, body: '' })],
  ['403', () => xrpcError(403, 'Forbidden', 'no')],
  ['another account', () => json(200, { did: 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa', active: false })],
]

test.each(vague)('a host that answers %s deletes nothing, and is asked again by the next run', async (_, answer) => {
  await crawl('relay')
  const removed = active().filter(({ pds }) => pds === 1)
  for (const account of removed) network.remove(account)
  network.intercept = (request) => (request.method === 'com.atproto.sync.getRepoStatus' ? answer() : undefined)
  await crawl('relay', { maxAttempts: 1 })
  const { rows } = await database.pool.query('select count(*)::int as left from unlisted')
  expect(rows).toEqual([{ left: removed.length }])
  for (const { did } of removed) expect((await readOutcomes(database)).get(did)).toMatchObject({ state: 'done' })
  network.intercept = undefined
  await crawl('relay')
  await expectGone(removed)
})

test('while the directory cannot be asked nobody is taken for deleted: they may have moved', async () => {
  await crawl('relay')
  const removed = active().slice(0, 5)
  for (const account of removed) network.remove(account)
  await network.servers.get('plc')?.close()
  await crawl('relay', { maxAttempts: 1 })
  for (const { did } of removed) expect((await readOutcomes(database)).get(did)).toMatchObject({ state: 'done' })
  await network.servers.get('plc')?.reopen()
  await crawl('relay')
  await expectGone(removed)
})

test.each(['AuthMissing', 'MethodNotImplemented', 'InvalidRequest'])(
  'a host that knows no getRepoStatus (%s) is asked for the repo',
  async (error) => {
    await crawl('relay')
    const [removed, omitted] = active()
    if (!removed || !omitted) throw new Error('two accounts')
    network.remove(removed)
    network.omit(omitted)
    const status = { AuthMissing: 401, MethodNotImplemented: 501 }[error] ?? 400
    network.intercept = (request) =>
      request.method === 'com.atproto.sync.getRepoStatus' ? xrpcError(status, error, 'What?') : undefined
    await crawl('relay')
    await expectGone([removed])
  },
)

test('a host whose listing goes in circles, or has no end, loses nobody', async () => {
  await crawl('hosts')
  network.hostListingFault(0, 'repeated cursor')
  network.hostListingFault(1, 'lying cursor')
  const removed = active().filter(({ pds }, index) => pds < 2 && index % 3 === 0)
  for (const account of removed) network.remove(account)
  await crawl('hosts')
  await expectGone([])
  network.hostListingFault(0, undefined)
  network.hostListingFault(1, undefined)
  await crawl('hosts')
  await expectGone(removed)
})

describe('killed', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'unlisted-'))
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))

  test('killed in the middle of the listing, while passes are compared and while hosts are asked, it ends the same', async () => {
    const args = [
      ...['run', '--no-live', '--source', 'hosts', '--relay', network.relayUrl, '--plc', network.plcUrl],
      ...[
        '--allow-private-hosts',
        '--database',
        database.url,
        '--data-dir',
        folder,
        '--collections',
        '*',
        '--log-json',
      ],
    ]
    const run = (killAt = '') => startIndexer(args, { env: { INDEXER_KILL_AT: killAt } }).ended
    expect((await run()).exitCode).toBe(0)
    const removed = network.pdsUrls.flatMap((_, index) =>
      active()
        .filter(({ pds }) => pds === index)
        .slice(0, 3),
    )
    for (const account of removed) network.remove(account)
    const steps = ['after-page-commit:2', 'before-unlisted-commit:2', 'before-page-commit:1', 'before-answers-commit:1']
    for (const step of steps) expect((await run(step)).signal, step).toBe('SIGKILL')
    // Of a host that was listed but not compared when it was killed, who is missing is found in the next pass.
    for (let runs = 0; runs < 2; runs++) expect((await run()).exitCode).toBe(0)
    await expectGone(removed)
  })

  test('of three processes whoever resolves asks, and another takes over when it is killed', async () => {
    const members = [{}, { afterMs: 300 }, { afterMs: 300 }]
    for (const { exitCode } of await crawlTogether({ network, database }, members)) expect(exitCode).toBe(0)
    const removed = active().filter((_, index) => index % 4 === 0)
    for (const account of removed) network.remove(account)
    const killAt = { step: 'before-answers-commit', times: 1 } as const
    const [first, ...others] = await crawlTogether({ network, database }, [{ killAt }, { afterMs: 3_000 }, {}])
    expect(first?.signal).toBe('SIGKILL')
    for (const { exitCode } of others) expect(exitCode).toBe(0)
    await expectGone(removed)
  })
})
