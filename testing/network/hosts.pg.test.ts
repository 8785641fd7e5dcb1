// What whole servers do while a crawl runs: relays that list badly, hosts and directories that die, accounts that move.
// One crawl each, of some dozen accounts.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { json, type Reply, startServer } from 'indexer/demo/server.ts'
import { openTestDatabase, type TestDatabase } from 'indexer/src/testing-database.ts'
import { version } from 'indexer/src/version.ts'
import { buildRepo, makeSigningKey, tidFromMicros } from 'repo-stream/fixtures'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { compareWithTruth, crawlFake, readOutcomes } from './crawl-fake.ts'
import type { ListingFault } from './fake-listings.ts'
import { type FakeNetwork, startFakeNetwork } from './fakes.ts'
import { limitHosts } from './limiting-hosts.ts'
import { runIndexer } from './run-indexer.ts'

let network: FakeNetwork
let database: TestDatabase

beforeEach(async () => {
  network = await startFakeNetwork({
    seed: 9,
    accounts: 40,
    pdsCount: 13,
    bigRepos: { count: 0, records: 0 },
    relayPageLimit: 8,
  })
  database = await openTestDatabase({ migrated: false })
})

afterEach(async () => {
  await network?.close()
  await database?.close()
})

const listed = () => network.accounts.filter(({ status, relayKnows }) => status === 'active' || !relayKnows)
const active = () => network.accounts.filter(({ status }) => status === 'active')

async function expectWholeNetwork(): Promise<void> {
  const outcomes = await readOutcomes(database)
  expect([...outcomes.keys()].sort()).toEqual(
    listed()
      .map(({ did }) => did)
      .sort(),
  )
  expect(active().filter(({ did }) => outcomes.get(did)?.state !== 'done')).toEqual([])
  expect(await compareWithTruth(database, network, active())).toEqual([])
}

const harmless: readonly ListingFault[] = [
  'empty pages',
  'malformed rows',
  'repeated rows',
  'rate limit',
  'fails at times',
]

test.each(harmless)(
  'a relay with this fault, "%s", is listed to its end, and nobody is missed or doubled',
  async (fault) => {
    network.listingFault(fault)
    expect((await crawlFake(network, database)).exitCode).toBe(0)
    await expectWholeNetwork()
  },
)

test.each(['repeated cursor', 'backward cursor'] as const)(
  'a relay that goes in circles, "%s", ends the pass, and what it listed is crawled',
  async (fault) => {
    network.listingFault(fault)
    await crawlFake(network, database)
    const outcomes = await readOutcomes(database)
    const known = active().filter(({ did }) => outcomes.has(did))
    expect(known.length).toBeGreaterThanOrEqual(10)
    expect(known.filter(({ did }) => outcomes.get(did)?.state !== 'done')).toEqual([])
    expect(network.requests.byMethod.get('relay com.atproto.sync.listRepos')).toBeLessThan(30)
  },
)

test('a relay that always has one more page of the same repos, "lying cursor", is left, and what it listed is crawled', async () => {
  const sizes = { medianRecords: 2, bigRepos: { count: 0, records: 0 }, relayPageLimit: 1000, exactHeads: false }
  await using liar = await startFakeNetwork({ seed: 4, accounts: 300, ...sizes })
  liar.listingFault('lying cursor')
  expect((await crawlFake(liar, database)).exitCode).toBe(75)
  expect(liar.requests.byMethod.get('relay com.atproto.sync.listRepos')).toBeLessThan(120)
  const outcomes = await readOutcomes(database)
  expect(liar.accounts.filter(({ did, status }) => status === 'active' && outcomes.get(did)?.state !== 'done')).toEqual(
    [],
  )
}, 120_000)

test.each(['fails', 'html'] as const)(
  'a relay that never lists, "%s", ends the run with the code for "again later"',
  async (fault) => {
    network.listingFault(fault)
    expect((await crawlFake(network, database)).exitCode).toBe(75)
  },
)

test('an unreachable relay ends the run with the code for "again later", and the next run does it all', async () => {
  await network.servers.get('relay')?.close()
  expect((await crawlFake(network, database)).exitCode).toBe(75)
  await network.servers.get('relay')?.reopen()
  expect((await crawlFake(network, database)).exitCode).toBe(0)
  await expectWholeNetwork()
})

test('a host that dies in mid-crawl and comes back is crawled to its end', async () => {
  onGetRepo(3, async (pds) => {
    const server = network.servers.get(pds)
    await server?.close()
    setTimeout(() => void server?.reopen(), 500)
  })
  expect((await crawlFake(network, database, { options: { maxAttempts: 8 } })).exitCode).toBe(0)
  await expectWholeNetwork()
})

test('a host that is dead costs its own repos and no others, and their patience together, not one by one', async () => {
  await network.close()
  network = await startFakeNetwork({ seed: 9, accounts: 160, pdsCount: 3, bigRepos: { count: 0, records: 0 } })
  await network.servers.get('pds 2')?.close()
  expect((await crawlFake(network, database, { options: { maxAttempts: 4 } })).exitCode).toBe(0)
  const outcomes = await readOutcomes(database)
  for (const { did, pds, status } of active()) {
    expect(outcomes.get(did), `${did} on ${pds}, ${status}`).toMatchObject(
      pds === 2 ? { state: 'failed', code: 'HostDead', records: 0 } : { state: 'done' },
    )
  }
  const done = active().filter(({ pds }) => pds !== 2)
  expect(await compareWithTruth(database, network, done)).toEqual([])
})

test('a directory that is down for a while is waited for', async () => {
  const plc = network.servers.get('plc')
  await plc?.close()
  setTimeout(() => void plc?.reopen(), 400)
  expect((await crawlFake(network, database, { options: { maxAttempts: 8 } })).exitCode).toBe(0)
  await expectWholeNetwork()
})

test('a directory that stays down leaves every repo with its code, and the next run resolves them', async () => {
  const plc = network.servers.get('plc')
  await plc?.close()
  await crawlFake(network, database, { options: { maxAttempts: 1 } })
  const codes = new Set(Array.from((await readOutcomes(database)).values(), ({ code }) => code))
  expect(codes).toEqual(new Set(['PlcUnavailable']))
  await plc?.reopen()
  await database.pool.query(`update repos set retry_at = now()`)
  await crawlFake(network, database)
  await expectWholeNetwork()
})

test('an account that moves while the crawl runs is fetched from its new host', async () => {
  const moving = active().filter(({ index }) => index > 20)
  const moves = new Map<string, number>()
  network.intercept = (request, role) => {
    // All that are still to be fetched when the first repo is asked for: resolved at their old host, and gone from it.
    if (moves.size === 0 && role.kind === 'pds' && request.method === 'com.atproto.sync.getRepo') {
      for (const account of moving) {
        const target = (account.pds + 1) % network.pdsUrls.length
        moves.set(account.did, target)
        network.migrate(account, target)
      }
    }
    return undefined
  }
  expect((await crawlFake(network, database)).exitCode).toBe(0)
  await expectWholeNetwork()
  const { rows } = await database.pool.query<{ did: string; pds: string }>('select did, pds from accounts')
  const hosts = new Map(rows.map(({ did, pds }) => [did, pds]))
  for (const { did } of moving) expect(hosts.get(did)).toBe(network.pdsUrls[moves.get(did) ?? 0])
})

test('a host that limits requests is asked as fast as it allows, and never has to say 429', async () => {
  await using one = await startFakeNetwork({ seed: 3, accounts: 60, pdsCount: 1, bigRepos: { count: 0, records: 0 } })
  const hosts = limitHosts(one, { limit: 40, windowSeconds: 4 })
  const startedMs = performance.now()
  expect((await crawlFake(one, database)).exitCode).toBe(0)
  expect(hosts.refused).toBe(0)
  expect(performance.now() - startedMs).toBeLessThan(60_000) // the limit alone asks for 6 seconds; a host given up for a while, for minutes
  const states = Array.from((await readOutcomes(database)).values(), ({ state }) => state)
  expect(states.filter((state) => state !== 'done' && state !== 'gone')).toEqual([])
})

test('a huge download leaves its slot to the other repos of its host', async () => {
  const [huge, ...others] = active().filter(({ pds }) => pds === 0)
  if (huge === undefined || others.length === 0) throw new Error('a host with several accounts')
  network.repoFault(huge, 'huge')
  const othersAsked = Promise.withResolvers<void>()
  const asked = new Set<string>()
  network.intercept = async (request, role) => {
    const did = request.params.get('did')
    if (role.kind !== 'pds' || role.index !== 0 || did === null) return undefined
    if (did !== huge.did) {
      asked.add(did)
      if (others.every((other) => asked.has(other.did))) othersAsked.resolve()
      return undefined
    }
    const reply = await network.handle(request, role)
    return { ...reply, body: endsAfter(reply.body, othersAsked.promise) }
  }
  expect((await crawlFake(network, database, { options: { hostConcurrency: 1, maxAttempts: 1 } })).exitCode).toBe(0)
  await expectWholeNetwork()
})

async function* endsAfter(body: Reply['body'], moment: Promise<void>): AsyncGenerator<Uint8Array> {
  if (typeof body !== 'object' || body instanceof Uint8Array) throw new Error('a streamed body')
  yield* body
  await moment
}

test('where the system permits few open files, fewer repos are in flight, and none fails for it', async () => {
  await network.close()
  network = await startFakeNetwork({ seed: 9, accounts: 300, pdsCount: 13, bigRepos: { count: 0, records: 0 } })
  const [maxFiles, dataDir] = [190, await mkdtemp(join(tmpdir(), 'few-files-'))]
  let [inFlight, most] = [0, 0]
  network.intercept = async ({ method }, role) => {
    if (role.kind !== 'pds' || method !== 'com.atproto.sync.getRepo') return undefined
    most = Math.max(most, ++inFlight)
    await sleep(50)
    inFlight--
    return undefined
  }
  const args = ['run', '--no-live', '--relay', network.relayUrl, '--plc', network.plcUrl, '--allow-private-hosts']
  const { exitCode, stderr } = await runIndexer(
    [...args, '--database', database.url, '--data-dir', dataDir, '--collections', '*', '--log-json'],
    { within: ['sh', '-c', `ulimit -n ${maxFiles} && exec "$@"`, 'sh'] },
  )
  await rm(dataDir, { recursive: true })
  expect(exitCode, stderr.slice(-2000)).toBe(0)
  expect(stderr).toContain('few open files')
  expect(stderr).not.toContain('EMFILE')
  expect(most).toBeLessThanOrEqual((maxFiles - 150) / 3)
  await expectWholeNetwork()
})

test('the proxy of the environment is used, and every request names the version and whom to write to', async () => {
  const seen = { agents: new Set<string | undefined>(), byProxy: 0 }
  const proxy = await startServer((request) => {
    seen.agents.add(request.headers['user-agent'])
    seen.byProxy++
    return network.handle(request, { kind: 'relay' })
  })
  network.intercept = ({ headers }) => {
    seen.agents.add(headers['user-agent'])
    return undefined
  }
  const dataDir = await mkdtemp(join(tmpdir(), 'proxy-'))
  const args = ['run', '--no-live', '--relay', 'http://relay.test', '--plc', network.plcUrl, '--allow-private-hosts']
  const { exitCode, stderr } = await runIndexer(
    [...args, '--database', database.url, '--data-dir', dataDir, '--collections', '*', '--contact', 'me@example.org'],
    { env: { HTTP_PROXY: proxy.url, http_proxy: proxy.url, NO_PROXY: '', no_proxy: '' } },
  )
  await proxy.close()
  await rm(dataDir, { recursive: true })
  expect(exitCode, stderr.slice(-2000)).toBe(0)
  expect(seen.byProxy).toBeGreaterThan(0)
  expect([...seen.agents]).toEqual([`atproto-indexer/${version} (+me@example.org)`])
  await expectWholeNetwork()
})

test('an account of did:web is resolved at its own domain and crawled', async () => {
  const pds = network.pdsUrls[0] ?? ''
  const did = `did:web:localhost%3A${new URL(pds).port}`
  const signingKey = makeSigningKey('did:web', { curve: 'P-256' })
  const value = { $type: 'app.bsky.feed.post', text: 'From a domain', createdAt: '2024-05-01T00:00:00.000Z' }
  const key = `app.bsky.feed.post/${tidFromMicros(Date.UTC(2024, 4, 1) * 1000, 1)}`
  const { car, head, rev } = buildRepo({ did, signingKey, records: [{ key, value }] })
  network.intercept = (request, role) => {
    if (role.kind === 'relay') return json(200, { repos: [{ did, head, rev, active: true }] })
    if (request.method === '/.well-known/did.json') {
      return json(200, {
        id: did,
        alsoKnownAs: ['at://web.demo.test'],
        verificationMethod: [
          { id: `${did}#atproto`, type: 'Multikey', controller: did, publicKeyMultibase: signingKey.did.slice(8) },
        ],
        service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: pds }],
      })
    }
    return { status: 200, headers: { 'content-type': 'application/vnd.ipld.car' }, body: car }
  }
  expect((await crawlFake(network, database)).exitCode).toBe(0)
  const { rows } = await database.pool.query('select uri, text from post')
  expect(rows).toEqual([{ uri: `at://${did}/${key}`, text: value.text }])
})

test('loopback and http are refused unless they are permitted', async () => {
  const crawl = crawlFake(network, database, { options: { allowPrivateHosts: false } })
  await expect(crawl).rejects.toMatchObject({ code: 'BadUsage' })
  const overTls = { relay: 'https://127.0.0.1:1', plc: ['https://127.0.0.1:1'], allowPrivateHosts: false }
  expect(await crawlFake(network, database, { options: overTls })).toMatchObject({ exitCode: 75 })
  expect(network.requests.byMethod.size).toBe(0)
})

test('what stops the run ends at once the downloads that are under way', async () => {
  await using full = await openTestDatabase()
  await full.pool.query(`
    create function no_room() returns trigger language plpgsql as $$ begin raise 'no room' using errcode = '53100'; end $$;
    create trigger no_room before update on repos for each row when (new.state = 'done') execute function no_room()`)
  const ended = Promise.withResolvers<undefined>()
  let held: string | undefined
  network.intercept = ({ method, params }, role) => {
    if (role.kind !== 'pds' || method !== 'com.atproto.sync.getRepo') return undefined
    held ??= params.get('did') ?? undefined
    return params.get('did') === held ? ended.promise : undefined
  }
  try {
    const httpLimits = { headersTimeoutMs: 600_000 }
    await expect(crawlFake(network, full, { httpLimits })).rejects.toMatchObject({ code: 'DatabaseFull' })
    expect(held).toBeDefined()
  } finally {
    ended.resolve(undefined)
  }
})

/** Does something once, at the `count`-th getRepo that any host gets. */
function onGetRepo(count: number, act: (pds: string) => Promise<void>): void {
  let seen = 0
  network.intercept = async (request, role) => {
    if (role.kind !== 'pds' || request.method !== 'com.atproto.sync.getRepo') return undefined
    if (++seen === count) await act(`pds ${role.index}`)
    return undefined
  }
}
