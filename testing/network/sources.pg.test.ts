// Where repos are listed: each source by itself, several together, and what hosts do that list accounts that are not theirs.
// One crawl each, of some dozen accounts on five hosts, whose listings have several pages.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DemoAccount } from 'indexer/demo/population.ts'
import { json, xrpcError } from 'indexer/demo/server.ts'
import { migrate } from 'indexer/src/database.ts'
import type { RunOptions, RunOutcome } from 'indexer/src/run.ts'
import { openState } from 'indexer/src/state.ts'
import { openTestDatabase, type TestDatabase } from 'indexer/src/testing-database.ts'
import { createRandom } from 'repo-stream/fixtures'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { compareWithTruth, crawlFake, readOutcomes } from './crawl-fake.ts'
import { type FakeNetwork, startFakeNetwork } from './fakes.ts'
import { startIndexer } from './run-indexer.ts'

vi.setConfig({ testTimeout: 120_000 }) // some crawl twice, and the machine may be busy

let network: FakeNetwork
let database: TestDatabase
let folder: string

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

const crawl = (source: string[], options: Partial<RunOptions> = {}): Promise<RunOutcome> =>
  crawlFake(network, database, {
    options: { source, ...options },
    handles: { dnsServers: ['127.0.0.1:1'], wellKnownUrl: (handle) => `${network.pdsUrls[0]}/.well-known/${handle}` },
  })

const active = () => network.accounts.filter(({ status }) => status === 'active')
const didsOf = (accounts: readonly DemoAccount[]) => accounts.map(({ did }) => did).sort()
const asked = (method: string) => network.requests.byMethod.get(method) ?? 0

/** These accounts are done, with the rows of their repos, and there are no others but those that are gone. */
async function expectDone(accounts: readonly DemoAccount[]): Promise<void> {
  const outcomes = await readOutcomes(database)
  const done = [...outcomes].filter(([, { state }]) => state !== 'gone')
  expect(new Set(done.map(([, { state }]) => state))).toEqual(new Set(['done']))
  expect(done.map(([did]) => did).sort()).toEqual(didsOf(accounts))
  expect(await compareWithTruth(database, network, accounts)).toEqual([])
}

async function homesOf(): Promise<Map<string, string>> {
  const { rows } = await database.pool.query<{ did: string; pds: string }>('select did, pds from accounts')
  return new Map(rows.map(({ did, pds }) => [did, pds]))
}

describe('one source', () => {
  test('hosts: every account is reached, also those that the relay omits, with the status that their host gives', async () => {
    expect((await crawl(['hosts'])).exitCode).toBe(0)
    await expectDone(active())
    const outcomes = await readOutcomes(database)
    const gone = network.accounts.filter(({ status }) => status !== 'active' && status !== 'deleted')
    expect(gone.length).toBeGreaterThan(0)
    for (const { did, status } of gone) expect(outcomes.get(did)).toMatchObject({ state: 'gone', status })
    expect(asked('relay com.atproto.sync.listRepos')).toBe(0)
    for (const { did } of gone) expect(network.requests.getRepo.get(did)).toBeUndefined()
  })

  test('hosts with --verify structure: no DID document is asked for', async () => {
    expect((await crawl(['hosts'], { verify: 'structure' })).exitCode).toBe(0)
    await expectDone(active())
    expect(asked('plc /did')).toBe(0)
  })

  test('host: the accounts of one host, and no others', async () => {
    const [, pds = ''] = network.pdsUrls
    expect((await crawl([`host=${pds}`])).exitCode).toBe(0)
    await expectDone(active().filter((account) => account.pds === 1))
  })

  test('collection: the accounts that have records of any of several collections, from a directory', async () => {
    const wanted = ['app.bsky.graph.list', 'garden.demo.plant.sighting'] as const
    const sources = wanted.map((nsid) => `collection=${nsid}`)
    expect((await crawl(sources, { collectionDirectory: network.relayUrl })).exitCode).toBe(0)
    const having = active().filter(({ counts }) => wanted.some((nsid) => counts[nsid] > 0))
    expect(having.length).toBeGreaterThan(0)
    expect(having.length).toBeLessThan(active().length)
    await expectDone(having)
  })

  test('file: DIDs and handles are indexed, lines that name nobody are counted, and the others go on', async () => {
    const [first, second, third] = active()
    if (!first || !second || !third) throw new Error('three accounts')
    serveHandles()
    const lines = [
      '\uFEFF# accounts to index',
      first.did,
      '',
      `@${second.handle.toUpperCase()}  # a handle`,
      'nonsense',
      'did:plc',
      'nobody.demo.test',
      'x'.repeat(100_000),
      `at://${third.did}`,
      first.did,
    ]
    const path = join(folder, 'accounts.txt')
    await writeFile(path, lines.join('\r\n'))
    const { output, exitCode } = await crawl([`file=${path}`])
    expect(exitCode).toBe(0)
    expect(JSON.parse(output).sources).toMatchObject([{ name: `file ${path}`, listed: 3, refused: 4 }])
    await expectDone([first, second, third])
  })

  test('a file that cannot be read is wrong use', async () => {
    await expect(crawl([`file=${join(folder, 'nothing')}`])).rejects.toMatchObject({ code: 'BadUsage' })
  })

  test('arguments: the accounts that were named, again when they have written, and no others', async () => {
    const [first, second] = active()
    if (!first || !second) throw new Error('two accounts')
    serveHandles()
    const names = [first.did, second.handle]
    expect((await crawl([], { names })).exitCode).toBe(0)
    await expectDone([first, second])
    network.edit(first, createRandom('arguments'))
    expect((await crawl([], { names })).exitCode).toBe(0)
    await expectDone([first, second])
    expect(network.requests.getRepo.get(first.did)).toBe(2)
    expect(network.requests.getRepo.get(second.did)).toBe(1)
  })

  test('an argument that names nobody ends with the code for "again later", and the others are indexed', async () => {
    const [first] = active()
    if (!first) throw new Error('an account')
    expect((await crawl([], { names: [first.did, 'nobody.demo.test'] })).exitCode).toBe(75)
    await expectDone([first])
    await expect(crawl([], { names: ['nobody'] })).rejects.toMatchObject({ code: 'BadUsage' })
  })
})

test('a relay that knows no listHosts, as a PDS, ends the run with the code for "again later"', async () => {
  expect((await crawl(['hosts'], { relay: network.pdsUrls[0] ?? '', maxAttempts: 1 })).exitCode).toBe(75)
})

test('an account that was deleted since loses its rows when it is looked at again, an inactive one has them hidden', async () => {
  const [deleted, inactive] = active()
  if (!deleted || !inactive) throw new Error('two accounts')
  const names = [deleted.did, inactive.did]
  await crawl([], { names })
  network.intercept = (request) => {
    const did = request.params.get('did')
    if (did === deleted.did) return xrpcError(400, 'RepoNotFound', `Could not find repo for DID: ${did}`)
    if (did === inactive.did) return json(200, { did, active: false, status: 'deactivated' })
    return undefined
  }
  expect((await crawl([], { names })).exitCode).toBe(0)
  const outcomes = await readOutcomes(database)
  expect(outcomes.get(deleted.did)).toMatchObject({ state: 'gone', status: 'deleted', records: 0 })
  expect(outcomes.get(inactive.did)).toMatchObject({ state: 'gone', status: 'deactivated' })
  expect(outcomes.get(inactive.did)?.records).toBeGreaterThan(0)
  expect((await database.pool.query('select did from profile')).rows).toEqual([])
  const { rows } = await database.pool.query('select distinct repo from profile_rows')
  expect(rows).toHaveLength(1)
})

describe('names while another process of the same crawl lives', () => {
  test.each(['arguments', 'file'] as const)('%s: those that were not listed yet are', async (kind) => {
    const [first, second] = active()
    if (!first || !second) throw new Error('two accounts')
    const path = join(folder, 'accounts.txt')
    const name = async (dids: string[]): Promise<RunOutcome> => {
      if (kind === 'arguments') return await crawl([], { names: dids })
      await writeFile(path, dids.join('\n'))
      return await crawl([`file=${path}`])
    }
    await migrate(database)
    const other = await openState(database)
    try {
      expect((await name([first.did])).exitCode).toBe(0)
      expect((await name([first.did, second.did])).exitCode).toBe(0)
      await expectDone([first, second])
      const { output } = await name([first.did, second.did])
      expect(JSON.parse(output).sources).toMatchObject([{ listed: 0 }])
    } finally {
      await other.end()
    }
  })

  test.each(['arguments', 'file'] as const)(
    '%s: handles whose domains could not be asked are asked later',
    async (kind) => {
      const [first, second] = active()
      if (!first || !second) throw new Error('two accounts')
      const path = join(folder, 'accounts.txt')
      const names = [first.did, second.handle]
      await writeFile(path, names.join('\n'))
      const again = () => (kind === 'arguments' ? crawl([], { names }) : crawl([`file=${path}`]))
      network.intercept = (request) =>
        request.method.startsWith('/.well-known/') ? xrpcError(503, 'Unavailable', 'no') : undefined
      await migrate(database)
      const other = await openState(database)
      try {
        expect((await again()).exitCode).toBe(75)
        await expectDone([first])
        serveHandles()
        expect((await again()).exitCode).toBe(0)
        await expectDone([first, second])
      } finally {
        await other.end()
      }
    },
  )

  test('a file that has changed is read from its beginning, wherever the last pass was stopped', async () => {
    const [first, second] = active()
    if (!first || !second) throw new Error('two accounts')
    const path = join(folder, 'accounts.txt')
    await writeFile(path, first.did)
    await crawl([`file=${path}`])
    const stopped = `update sources set finished_at = null, cursor = split_part(cursor, ' ', 1) || ' ' || $1 where name = $2`
    await database.pool.query(stopped, [`${first.did.length}:1`, `file ${path}`])
    await writeFile(path, `${second.did}\n${first.did}`)
    expect((await crawl([`file=${path}`])).exitCode).toBe(0)
    await expectDone([first, second])
  })
})

test.each(['plc', 'pds'] as const)(
  'an account that has failed (%s) is tried again when it is named, and the run waits for it',
  async (kind) => {
    const [first, second] = active()
    if (!first || !second) throw new Error('two accounts')
    const path = join(folder, 'accounts.txt')
    await writeFile(path, second.did)
    const crawlBoth = async (options: Partial<RunOptions>): Promise<void> => {
      expect((await crawl([`file=${path}`], { names: [first.did], ...options })).exitCode).toBe(0)
    }
    network.intercept = (request, role) =>
      role.kind === kind && /getRepo$|did:plc/.test(request.method)
        ? xrpcError(500, 'InternalServerError', 'no')
        : undefined
    await crawlBoth({ maxAttempts: 1 })
    const failed = await readOutcomes(database)
    for (const { did } of [first, second]) expect(failed.get(did)).toMatchObject({ state: 'failed' })
    network.intercept = undefined
    await crawlBoth({})
    await expectDone([first, second])
  },
)

test('a host that another process lists is waited for, the other hosts are not, and it is not listed twice', async () => {
  await migrate(database)
  const other = await openState(database)
  const [pds = ''] = network.pdsUrls
  const source = `host ${pds}`
  const askedFor: number[] = []
  network.intercept = (request, role) => {
    if (role.kind === 'pds' && request.method === 'com.atproto.sync.listRepos') askedFor.push(role.index)
    return undefined
  }
  try {
    expect(await other.takeLease(`source ${source}`)).toBe(true)
    const crawled = crawl(['hosts'])
    const finished = `select name from sources where name like 'host http%' and finished_at is not null`
    await vi.waitFor(async () => expect((await database.pool.query(finished)).rows).toHaveLength(4), {
      timeout: 60_000,
      interval: 100,
    })
    const repos = active()
      .filter((account) => account.pds === 0)
      .map(({ did }) => ({ did, active: true }))
    await other.readSource(source)
    await other.commitPage({ source, cursor: undefined, repos, finished: true, host: pds, hostIsTrusted: false })
    await other.dropLease(`source ${source}`)
    const { output, exitCode } = await crawled
    expect(exitCode).toBe(0)
    expect(JSON.parse(output).sources).toMatchObject([{ hosts: { known: 5, listed: 5, unreachable: 0 } }])
    expect(new Set(askedFor)).toEqual(new Set([1, 2, 3, 4]))
    await expectDone(active())
  } finally {
    await other.end()
  }
})

describe('several sources', () => {
  test('an account that all of them list is fetched once', async () => {
    const path = join(folder, 'accounts.txt')
    await writeFile(
      path,
      active()
        .map(({ did }) => did)
        .join('\n'),
    )
    const sources = [
      'relay',
      'hosts',
      'relay',
      `host=${network.pdsUrls[2]}`,
      'collection=app.bsky.feed.post',
      `file=${path}`,
    ]
    const names = [active()[0]?.did ?? '']
    const { output, exitCode } = await crawl(sources, { names })
    expect(exitCode).toBe(0)
    expect(JSON.parse(output).sources).toHaveLength(6)
    await expectDone(active())
    for (const { did } of active()) expect(network.requests.getRepo.get(did)).toBe(1)
  })

  test('a source that fails costs the others nothing', async () => {
    network.listingFault('fails')
    expect((await crawl(['relay', 'hosts'])).exitCode).toBe(75)
    await expectDone(active())
  })

  test('a later listing fetches only what has moved', async () => {
    await crawl(['hosts'])
    const edited = active().filter((_, index) => index % 7 === 0)
    for (const account of edited) network.edit(account, createRandom(account.did))
    network.requests.getRepo.clear()
    expect((await crawl(['hosts'])).exitCode).toBe(0)
    await expectDone(active())
    expect([...network.requests.getRepo.keys()].sort()).toEqual(didsOf(edited))
  })
})

describe.each(['full', 'structure'] as const)('two hosts list one account, --verify %s', (verify) => {
  test('after a migration the new host has it, whichever was listed before', async () => {
    const moving = active().filter(({ index }) => index % 4 === 0)
    const [early, late] = [moving.slice(0, 5), moving.slice(5)]
    const move = (accounts: DemoAccount[]) => {
      for (const account of accounts) network.migrate(account, (account.pds + 2) % network.pdsUrls.length)
    }
    move(early)
    expect((await crawl(['hosts'], { verify })).exitCode).toBe(0)
    await expectDone(active())
    move(late)
    expect((await crawl(['hosts'], { verify })).exitCode).toBe(0)
    await expectDone(active())
    const homes = await homesOf()
    for (const { did, pds } of moving) expect(homes.get(did)).toBe(network.pdsUrls[(pds + 2) % network.pdsUrls.length])
  })

  test.each(['steals accounts', 'ends accounts'] as const)(
    'a host that lists the accounts of others, "%s", changes nothing of theirs, before or after they are indexed',
    async (fault) => {
      network.hostListingFault(0, fault)
      const liarAsked = Promise.withResolvers<void>()
      const askedAt = new Map<string | null, number[]>()
      network.intercept = async (request, role) => {
        if (role.kind !== 'pds') return undefined
        const did = request.params.get('did')
        if (request.method === 'com.atproto.sync.getRepo') askedAt.set(did, [...(askedAt.get(did) ?? []), role.index])
        // Where listings are believed the liar comes first, as far as it is up to us.
        if (request.method === 'com.atproto.sync.listRepos' && verify === 'structure') {
          if (role.index === 0) liarAsked.resolve()
          await liarAsked.promise
        }
        return undefined
      }
      for (let run = 0; run < 2; run++) {
        expect((await crawl(['hosts'], { verify })).exitCode).toBe(0)
        await expectDone(active())
        const homes = await homesOf()
        for (const { did, pds } of active()) expect(homes.get(did)).toBe(network.pdsUrls[pds])
        // Its own host is asked once in both runs; the liar until its attempts are used up, when it was believed.
        for (const { did, pds } of active()) {
          const { home, others = [] } = Object.groupBy(askedAt.get(did) ?? [], (at) => (at === pds ? 'home' : 'others'))
          expect(home, did).toEqual([pds])
          expect([[], [0], [0, 0], [0, 0, 0]], did).toContainEqual(others)
        }
      }
    },
  )
})

describe('hosts that misbehave', () => {
  test('a host that is unreachable is left to the next run, and costs the others nothing', async () => {
    await network.servers.get('pds 3')?.close()
    const { output, exitCode } = await crawl(['hosts'])
    expect(exitCode).toBe(0)
    expect(JSON.parse(output).sources).toMatchObject([{ hosts: { known: 5, listed: 4, unreachable: 1 } }])
    await expectDone(active().filter(({ pds }) => pds !== 3))
    await network.servers.get('pds 3')?.reopen()
    expect((await crawl(['hosts'])).exitCode).toBe(0)
    await expectDone(active())
  })

  test.each(['repeated cursor', 'lying cursor', 'invents accounts', 'fails', 'html', 'malformed rows'] as const)(
    'a host whose listing has this fault, "%s", is left, and the others are listed to their end',
    async (fault) => {
      network.hostListingFault(2, fault)
      network.intercept = (request, role) => {
        // Accounts that were made up are not resolved one by one here: the directory does not know them.
        const isKnown = network.accounts.some(({ did }) => `/${did}` === request.method)
        return role.kind === 'plc' && !isKnown ? json(404, { message: 'DID not registered' }) : undefined
      }
      expect((await crawl(['hosts'], { maxAttempts: 2 })).exitCode).toBe(0)
      const outcomes = await readOutcomes(database)
      const others = active().filter(({ pds }) => pds !== 2)
      for (const { did } of others) expect(outcomes.get(did)).toMatchObject({ state: 'done' })
      expect(
        await compareWithTruth(
          database,
          network,
          active().filter(({ did }) => outcomes.has(did)),
        ),
      ).toEqual([])
      expect(asked('pds com.atproto.sync.listRepos')).toBeLessThan(1000)
    },
  )

  test('a cursor that a host no longer knows begins its listing anew', async () => {
    await crawl(['hosts'])
    await database.pool.query(`update sources set finished_at = null, cursor = 'nonsense' where name like 'host http%'`)
    expect((await crawl(['hosts'])).exitCode).toBe(0)
    const { rows } = await database.pool.query(`select count(*)::int as left from sources where finished_at is null`)
    expect(rows).toEqual([{ left: 0 }])
  })
})

test('killed in the middle of a listing of hosts, it goes on host by host and page by page', async () => {
  const pages: string[] = []
  network.intercept = (request, role) => {
    if (role.kind === 'pds' && request.method === 'com.atproto.sync.listRepos')
      pages.push(`${role.index} ${request.params.get('cursor') ?? ''}`)
    return undefined
  }
  const args = [
    ...['run', '--no-live', '--source', 'hosts', '--relay', network.relayUrl, '--plc', network.plcUrl],
    ...['--allow-private-hosts', '--database', database.url, '--data-dir', folder, '--collections', '*', '--log-json'],
  ]
  const kill = (step: string) => startIndexer(args, { env: { INDEXER_KILL_AT: step } }).ended
  expect((await kill('after-page-commit:5')).signal).toBe('SIGKILL')
  expect((await kill('before-page-commit:4')).signal).toBe('SIGKILL')
  const { exitCode } = await startIndexer(args).ended
  expect(exitCode).toBe(0)
  await expectDone(active())
  // Each of five hosts has a page with its accounts and an empty one behind it; what a kill undid was asked again.
  const times = Map.groupBy(pages, (page) => page)
  expect(times.size).toBe(10)
  expect(pages.length).toBeLessThan(3 * 10)
  const finishedFirst = [...times.values()].filter(({ length }) => length === 1)
  expect(finishedFirst.length).toBeGreaterThan(0)
})

/** The domain of every handle answers, as its owner's PDS does for it. */
function serveHandles(): void {
  network.intercept = (request) => {
    const handle = request.method.replace('/.well-known/', '')
    const account = network.accounts.find((one) => one.handle === handle)
    return account && { status: 200, headers: { 'content-type': 'text/plain' }, body: `${account.did}\n` }
  }
}
