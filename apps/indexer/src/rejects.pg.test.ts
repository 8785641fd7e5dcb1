import { createHash } from 'node:crypto'
import { createRandom, encodeRecord, makeDid } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import { loadConfig } from './config.ts'
import { rejectPages, replayRejects, summarizeRejects } from './rejects.ts'
import { applySchema } from './schema.ts'
import { openTestDatabase } from './testing-database.ts'
import { insertRepos } from './testing-rows.ts'
import { copyRejectsOf } from './write-rejects.ts'

const post = 'app.bsky.feed.post'

/** With the default config's tables, and so many repos that have no records. */
async function openEmptyRepos(count: number) {
  const database = await openTestDatabase()
  const config = await loadConfig()
  await applySchema(database, { config })
  const repos = Array.from({ length: count }, (_, i) => ({ did: makeDid(i), handle: `${i}.test`, records: [] }))
  await insertRepos(database, config, repos)
  return { database, config, [Symbol.asyncDispose]: () => database.close() }
}

test('rejects are counted by code and collection; a replay stores those that are records now, and only those', async () => {
  await using opened = await openEmptyRepos(2)
  const { database, config } = opened
  const reject = async (repo: number, rkey: string, code: string, bytes: Uint8Array, collection = post) => {
    const digest = createHash('sha256').update(bytes).digest()
    const values = [repo, collection, rkey, digest, code, 'why', bytes]
    await database.pool.query('insert into reject_rows values ($1, $2, $3, $4, $5, $6, $7)', values)
    await database.pool.query('update repos set rejected = rejected + 1 where id = $1', [repo])
  }
  const good = Uint8Array.from(encodeRecord({ $type: post, text: 'stored\0now' }))
  await reject(1, '3jzfcijpj2z2a', 'RecordMalformed', good)
  await reject(2, '3jzfcijpj2z2a', 'RecordMalformed', good)
  await reject(2, '3jzfcijpj2z2b', 'RecordMalformed', Uint8Array.of(0xff))
  await reject(2, '3jzfcijpj2z2c', 'RowRefused', good)
  await reject(2, 'a', 'RecordMalformed', good, 'com.example.leftout')
  await database.pool.query(`insert into counters values ('rejected', 0, 5)`)

  const at = (i: number) => `at://${makeDid(i)}/${post}`
  expect(await summarizeRejects(database)).toEqual([
    {
      kind: 'reject',
      code: 'RecordMalformed',
      collection: post,
      count: 3,
      example: [`${at(0)}/3jzfcijpj2z2a`, `${at(1)}/3jzfcijpj2z2a`].sort()[0],
    },
    {
      kind: 'reject',
      code: 'RecordMalformed',
      collection: 'com.example.leftout',
      count: 1,
      example: expect.any(String),
    },
    { kind: 'reject', code: 'RowRefused', collection: post, count: 1, example: `${at(1)}/3jzfcijpj2z2c` },
  ])
  expect(await replayRejects(database, { config, process: 1, code: 'Other' })).toEqual({
    stored: 0,
    rejected: 0,
    left: 0,
  })
  expect(await replayRejects(database, { config, process: 1 })).toEqual({ stored: 2, rejected: 1, left: 2 })
  expect(await replayRejects(database, { config, process: 1 })).toEqual({ stored: 0, rejected: 1, left: 2 })

  const { rows } = await database.pool.query('select uri, text from post order by uri')
  expect(rows).toEqual([at(0), at(1)].sort().map((uri) => ({ uri: `${uri}/3jzfcijpj2z2a`, text: 'stored\ufffdnow' })))
  const repos = await database.pool.query('select records, rejected from repos order by id')
  expect(repos.rows).toEqual([
    { records: 1, rejected: 0 },
    { records: 1, rejected: 3 },
  ])
  const counters = await database.pool.query(
    'select name, sum(value)::int as value from counters group by name order by name',
  )
  expect(counters.rows).toEqual([
    { name: 'oddities', value: 2 },
    { name: 'rejected', value: 3 },
    { name: 'rows/post', value: 2 },
  ])
})

test('the rejects of one repo are replayed in pages of rows and of bytes, each of them once', async () => {
  await using opened = await openEmptyRepos(1)
  const { database, config } = opened
  const good = Uint8Array.from(encodeRecord({ $type: post, text: 'stored' }))
  await database.pool.query(
    `insert into reject_rows (repo, collection, rkey, cid, code, message, bytes)
     select 1, $1, 'r' || i, sha256(i::text::bytea), 'RecordMalformed', 'why',
       case when i <= 20 then convert_to(repeat('x', 1500000), 'utf8') when i <= 30 then '\\xff' else $2 end
     from generate_series(1, 1230) i`,
    [post, good],
  )
  await database.pool.query('update repos set rejected = 1230')
  const pages: { rows: number; bytes: number }[] = []
  const client = await database.pool.connect()
  for await (const rows of rejectPages(client, [1], {})) {
    pages.push({ rows: rows.length, bytes: rows.reduce((sum, { bytes }) => sum + bytes.length, 0) })
  }
  client.release()
  expect(pages.reduce((sum, { rows }) => sum + rows, 0)).toBe(1230)
  expect(Math.max(...pages.map(({ rows }) => rows))).toBe(500)
  expect(Math.max(...pages.map(({ bytes }) => bytes))).toBeLessThanOrEqual(16 * 1024 * 1024)

  expect(await replayRejects(database, { config, process: 1 })).toEqual({ stored: 1200, rejected: 30, left: 0 })
  expect(await replayRejects(database, { config, process: 1 })).toEqual({ stored: 0, rejected: 30, left: 0 })
  const { rows } = await database.pool.query('select records, rejected from repos')
  expect(rows).toEqual([{ records: 1200, rejected: 30 }])
})

test('a replay keeps no more odd values of a repo than a crawl does, and adds to the number of those that were not kept', async () => {
  await using opened = await openEmptyRepos(1)
  const { database, config } = opened
  const odd = Uint8Array.from(encodeRecord({ $type: post, text: 'stored\0' }))
  for (const { rejects, kept, unkept } of [
    { rejects: 1200, kept: 1000, unkept: '200' },
    { rejects: 1001, kept: 2000, unkept: '201' },
  ]) {
    await database.pool.query(
      `insert into reject_rows (repo, collection, rkey, cid, code, message, bytes)
       select 1, $1, $2 || 'r' || i, sha256(i::text::bytea), 'RecordMalformed', 'why', $3 from generate_series(1, $4::int) i`,
      [post, unkept, odd, rejects],
    )
    expect(await replayRejects(database, { config, process: 1 })).toMatchObject({ stored: rejects, left: 0 })
    const { rows } = await database.pool.query(`
      select count(*) filter (where code = 'TextNul')::int as kept, (select sum(value)::int from counters where name = 'oddities') as counted,
        min(convert_from(original, 'UTF8')) filter (where code = 'NotKept') as unkept, max(uri) filter (where code = 'NotKept') as uri
      from oddities`)
    expect(rows).toEqual([{ kept, counted: kept + 1, unkept, uri: `at://${makeDid(0)}` }])
  }
})

test('a replay makes a row under the whole key of a record, however long, and none under a key that had to be altered', async () => {
  await using opened = await openEmptyRepos(1)
  const { database, config } = opened
  const bytes = Uint8Array.from(encodeRecord({ $type: post, text: 'stored' }))
  const random = createRandom('keys')
  const long = Buffer.from(random.bytes(500))
    .toString('hex')
    .slice(0, 1023 - post.length)
  /** Letters of two bytes, which do not compress, and a NUL where a shortened key has none. */
  const withNul = `${String.fromCharCode(...random.bytes(1022 - post.length).map((byte) => byte | 0x80))}\0`
  const reject = { cid: new Uint8Array(32), code: 'RecordMalformed', message: 'why', bytes }
  const rejects = [
    { ...reject, collection: post, rkey: long },
    { ...reject, collection: post, rkey: withNul },
    { ...reject, collection: post, rkey: `${long.slice(1)}\0` },
    { ...reject, collection: withNul, rkey: post },
    { ...reject, collection: '\0'.repeat(1000), rkey: '\0'.repeat(23) },
  ]
  const client = await database.pool.connect()
  expect(await copyRejectsOf(client, [{ id: 1, rejects }])).toBe(rejects.length)
  client.release()
  await database.pool.query('update repos set rejected = $1', [rejects.length])
  expect((await replayRejects(database, { config, process: 1 })).stored).toBe(1)
  const { rows } = await database.pool.query('select uri from post')
  expect(rows).toEqual([{ uri: `at://${makeDid(0)}/${post}/${long}` }])
})
