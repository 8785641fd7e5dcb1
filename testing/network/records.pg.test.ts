// One repo whose records are all that PROTOCOL warns of, crawled: none is dropped in silence, each is a row or a reject.
import { loadConfig } from 'indexer/src/config.ts'
import { openTestDatabase, type TestDatabase } from 'indexer/src/testing-database.ts'
import { type BuiltRepo, buildRepo, cidText, encodeRecord } from 'repo-stream/fixtures'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { crawlFake } from './crawl-fake.ts'
import { type FakeNetwork, startFakeNetwork } from './fakes.ts'

const createdAt = '2024-05-01T00:00:00.000Z'
const post = { $type: 'app.bsky.feed.post', text: 'a post', createdAt }
const like = {
  $type: 'app.bsky.feed.like',
  subject: { uri: 'at://did:plc:x/app.bsky.feed.post/y', cid: 'none' },
  createdAt,
}

function nested(levels: number): unknown {
  let value: unknown = 1
  for (let level = 0; level < levels; level++) value = [value]
  return value
}

const values: Readonly<Record<string, unknown>> = {
  'app.bsky.feed.post/plain': post,
  'app.bsky.feed.post/twin': post,
  'app.bsky.feed.like/holds-a-post': post,
  'app.bsky.graph.follow/holds-a-post': post,
  'net.example.thing/holds-a-post': post,
  'app.bsky.feed.post/holds-a-like': like,
  'app.bsky.feed.post/no-type': { text: 'untyped', createdAt },
  'app.bsky.feed.post/type-is-number': { ...post, $type: 7 },
  'app.bsky.feed.post/type-of-nobody': { ...post, $type: 'net.example.other' },
  'app.bsky.feed.post/float': { ...post, score: 1.5 },
  'app.bsky.feed.post/large-integer': { ...post, count: 2n ** 63n },
  'app.bsky.feed.post/deep': { ...post, deep: nested(200) },
  'app.bsky.feed.post/looks-like-a-node': { e: [], l: null },
  'net.example.thing/looks-like-a-node': { e: [{ k: Buffer.from('a/b'), p: 0, t: null, v: null }], l: null },
  'net.example.thing/large-integer': { count: 2n ** 64n - 1n, least: -(2n ** 64n) },
  [`net.example.thing/${'r'.repeat(512)}`]: { long: 'key' },
  'net.example.thing/many-fields': Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`field${i}`, i])),
}

const malformed: Readonly<Record<string, Uint8Array>> = {
  'app.bsky.feed.post/no-cbor': Buffer.from('ffff', 'hex'),
  'app.bsky.feed.post/cut': Uint8Array.from(encodeRecord(post)).slice(0, -3),
  'app.bsky.feed.post/more-after-it': Buffer.concat([encodeRecord(post), Buffer.from([0])]),
  'app.bsky.feed.post/undefined': Buffer.from('a1616bf7', 'hex'),
  'app.bsky.feed.post/simple-value': Buffer.from('a1616bf820', 'hex'),
  'app.bsky.feed.post/not-a-map': Buffer.from('83010203', 'hex'),
  'app.bsky.feed.post/repeated-key': Buffer.from('a2616b01616b02', 'hex'),
  'app.bsky.feed.post/too-deep': Uint8Array.from(encodeRecord({ ...post, deep: nested(2000) })),
  'net.example.thing/indefinite': Buffer.from('bfff', 'hex'),
}

let network: FakeNetwork
let database: TestDatabase
let repo: BuiltRepo

beforeAll(async () => {
  network = await startFakeNetwork({ accounts: 4, bigRepos: { count: 0, records: 0 } })
  database = await openTestDatabase({ migrated: false })
  const account = network.accounts[1]
  if (account === undefined) throw new Error('no account')
  const records = [
    ...Object.entries(values).map(([key, value]) => ({ key, value })),
    ...Object.entries(malformed).map(([key, bytes]) => ({ key, bytes })),
  ]
  repo = buildRepo({ did: account.did, signingKey: network.signingKey(account), records, rev: account.rev })
  network.intercept = (request) => {
    const isGetRepo = request.method === 'com.atproto.sync.getRepo' && request.params.get('did') === account.did
    return isGetRepo
      ? { status: 200, headers: { 'content-type': 'application/vnd.ipld.car' }, body: repo.car }
      : undefined
  }
  expect((await crawlFake(network, database)).exitCode).toBe(0)
}, 60_000)

afterAll(async () => {
  await network?.close()
  await database?.close()
})

async function storedKeys(): Promise<Map<string, string>> {
  const stored = new Map<string, string>()
  for (const { name } of (await loadConfig({ collections: ['*'] })).tables) {
    const { rows } = await database.pool.query<{ uri: string; cid: string }>(
      `select uri, cid from "${name}" where did = $1`,
      [repo.did],
    )
    for (const { uri, cid } of rows) stored.set(uri.split('/').slice(3).join('/'), cid)
  }
  return stored
}

test('every record of the repo is a row or a reject, with its CID', async () => {
  const stored = await storedKeys()
  const { rows } = await database.pool.query<{ uri: string; cid: string }>(
    'select uri, cid from rejects where did = $1',
    [repo.did],
  )
  for (const { uri, cid } of rows) stored.set(uri.split('/').slice(3).join('/'), cid)
  expect(Object.fromEntries(stored)).toEqual(
    Object.fromEntries(repo.entries.map(({ key, cid }) => [key, cidText(cid)])),
  )
})

test('a record that is no strict DAG-CBOR map is a reject with its bytes, and no row', async () => {
  const { rows } = await database.pool.query<{ collection: string; rkey: string; code: string; bytes: Buffer }>(
    'select collection, rkey, code, bytes from rejects where did = $1',
    [repo.did],
  )
  const rejected = new Map(rows.map(({ collection, rkey, code, bytes }) => [`${collection}/${rkey}`, { code, bytes }]))
  for (const [key, bytes] of Object.entries(malformed)) {
    expect(rejected.get(key)?.code, key).toBe(key.endsWith('/too-deep') ? 'RecordTooDeep' : 'RecordMalformed')
    expect(rejected.get(key)?.bytes.equals(bytes), key).toBe(true)
  }
  expect([...rejected.keys()].filter((key) => !(key in malformed))).toEqual([])
})

test('one block under several collections is a row in each of their tables', async () => {
  const stored = await storedKeys()
  const cid = stored.get('app.bsky.feed.post/plain')
  for (const key of ['app.bsky.feed.post/twin', 'app.bsky.feed.like/holds-a-post', 'net.example.thing/holds-a-post']) {
    expect(stored.get(key), key).toBe(cid)
  }
  const { rows } = await database.pool.query('select text from post where did = $1 and rkey = $2', [repo.did, 'twin'])
  expect(rows).toEqual([{ text: 'a post' }])
})

test('a record whose $type is not its collection says so among the oddities', async () => {
  const { rows } = await database.pool.query<{ key: string }>(
    `select collection || '/' || rkey as key from oddities where did = $1 and code = 'TypeDiffers' order by 1`,
    [repo.did],
  )
  expect(rows.map(({ key }) => key)).toEqual(
    expect.arrayContaining(['app.bsky.feed.like/holds-a-post', 'app.bsky.feed.post/type-of-nobody']),
  )
})

test('integers beyond 2^53 keep all their digits in jsonb', async () => {
  const { rows } = await database.pool.query(
    `select record ->> 'count' as count, record ->> 'least' as least from records where did = $1 and rkey = 'large-integer'`,
    [repo.did],
  )
  expect(rows).toEqual([{ count: '18446744073709551615', least: '-18446744073709551616' }])
})
