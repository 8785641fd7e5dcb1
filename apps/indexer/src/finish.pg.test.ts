import { randomBytes } from 'node:crypto'
import { decode } from 'cborg'
import { expect, test, vi } from 'vitest'
import { resolveConfig } from './config-resolve.ts'
import { finish } from './finish.ts'
import { applySchema } from './schema.ts'
import { openTestDatabase, type TestDatabase } from './testing-database.ts'

const config = await resolveConfig({
  collections: {
    'app.bsky.feed.like': {
      columns: { created_at: 'timestamptz', subject_uri: { type: 'at-uri', path: 'subject.uri' } },
      indexes: ['created_at', 'subject_uri'],
    },
    'app.bsky.feed.post': { columns: { langs: 'text[]', embed: 'jsonb' }, indexes: ['langs', 'embed'] },
  },
})
const names = ['like_rows_created_at_idx', 'like_rows_subject_uri_idx', 'post_rows_langs_idx', 'post_rows_embed_idx']

async function openWithLikes(count: number): Promise<TestDatabase> {
  const database = await openTestDatabase()
  await applySchema(database, { config })
  await database.pool.query(
    `insert into like_rows (repo, created_at, rkey, cid, subject_uri)
    select i % 100, now(), lpad(i::text, 13, '0'), sha256(i::text::bytea), 'at://' || i from generate_series(1, $1::int) i`,
    [count],
  )
  return database
}

test('indexes are built once, while writers write, and then used', async () => {
  await using database = await openWithLikes(5_000)
  const [first] = await Promise.all([
    finish(database, { config }),
    database.pool.query(`insert into like_rows (repo, rkey, cid) values (1, 'new', '\\x')`),
  ])
  expect(first.built.map((index) => index.name)).toEqual(names)
  expect(first.built.every((index) => index.bytes > 0)).toBe(true)
  expect(await finish(database, { config })).toEqual({ busy: false, built: [], dropped: [], present: names })
  const plan = async (sql: string) => JSON.stringify((await database.pool.query(`explain ${sql}`)).rows)
  expect(await plan(`select * from "like" where subject_uri = 'at://77'`)).toContain('like_rows_subject_uri_idx')
  await database.pool.query(
    `insert into post_rows (repo, rkey, cid, embed) select i, 'a', '', '{"alt":' || i || '}' from generate_series(1, 9000) i`,
  )
  await database.pool.query('vacuum analyze post_rows')
  const found = `select did, embed from post where embed @> '{"alt": 77}'`
  expect(await plan(found)).toContain('post_rows_embed_idx')
  expect((await database.pool.query(found)).rows).toEqual([{ did: null, embed: { alt: 77 } }])
})

test('after the load tables get the statistics and the care that they did without', async () => {
  await using database = await openWithLikes(5_000)
  const readLikes = async () => {
    const sql = `select reltuples::int as rows, reloptions as settings from pg_class where relname = 'like_rows'`
    return (await database.pool.query(sql)).rows
  }
  const settings = ['autovacuum_analyze_threshold=10000000', 'autovacuum_vacuum_insert_threshold=-1']
  expect(await readLikes()).toEqual([{ rows: -1, settings }])
  await finish(database, { config })
  expect(await readLikes()).toEqual([{ rows: 5_000, settings: null }])
})

test('rows are vacuumed before anything is built on them, and an abort does not wait for it', async () => {
  await using database = await openWithLikes(1_000)
  const client = await database.pool.connect()
  await client.query('begin; lock table like_rows in share update exclusive mode')
  const stop = new AbortController()
  const reason = new Error('stopped')
  const stopped = expect(finish(database, { config, signal: stop.signal })).rejects.toBe(reason)
  const waiting = `select from pg_stat_activity where query like 'vacuum%' and wait_event_type = 'Lock' and datname = current_database()`
  await vi.waitUntil(async () => (await database.pool.query(waiting)).rowCount === 1, { timeout: 20_000 })
  const begun = `select from pg_class where relname = any($1)`
  expect((await database.pool.query(begun, [names])).rowCount).toBe(0)
  stop.abort(reason)
  await stopped
  await client.query('rollback')
  client.release()
  expect((await finish(database, { config })).built.map((index) => index.name)).toEqual(names)
})

test('an index on what rows hold, from before short forms, is built again on what views show', async () => {
  await using database = await openWithLikes(100)
  await database.pool.query('create index like_rows_subject_uri_idx on like_rows (subject_uri)')
  expect(await finish(database, { config })).toMatchObject({ dropped: ['like_rows_subject_uri_idx'], present: [] })
})

test('an index that was cancelled half built is dropped and built again', async () => {
  await using database = await openWithLikes(60_000)
  await using blocker = await blockBuilds(database)
  const stop = new AbortController()
  const reason = new Error('stopped')
  const stopped = expect(finish(database, { config, signal: stop.signal })).rejects.toBe(reason)
  await untilHalfBuilt(database)
  stop.abort(reason)
  await stopped
  await blocker[Symbol.asyncDispose]()
  const result = await finish(database, { config })
  expect(result).toMatchObject({ busy: false, dropped: [names[0]], present: [] })
  expect(result.built.map((index) => index.name)).toEqual(names)
})

test('only one process builds', async () => {
  await using database = await openWithLikes(1_000)
  await using blocker = await blockBuilds(database)
  const first = finish(database, { config })
  await untilHalfBuilt(database)
  expect(await finish(database, { config })).toMatchObject({ busy: true, built: [] })
  await blocker[Symbol.asyncDispose]()
  expect((await first).busy).toBe(false)
})

test('text that is too long for an index that came later becomes null, and its original is kept', async () => {
  await using database = await openWithLikes(10)
  const long = Array.from({ length: 400 }, (_, i) => `ü${i * 7_919}`).join('') // nothing that compresses into an entry
  await database.pool.query(`update like_rows set subject_uri = '=' || $1 where rkey = '0000000000007'`, [long])
  expect((await finish(database, { config })).built.map((index) => index.name)).toEqual(names)
  const rows = await database.pool.query(`select count(*)::int as nulls from like_rows where subject_uri is null`)
  expect(rows.rows).toEqual([{ nulls: 1 }])
  const { rows: odd } = await database.pool.query(`select rkey, field, code, original from oddity_rows`)
  expect(odd).toMatchObject([{ rkey: '0000000000007', field: 'subject_uri', code: 'TextTooLongForIndex' }])
  expect(odd[0].original.subarray(5).toString()).toBe(long)
})

test('bytes and elements of lists that are too long for an index become null, and the whole value is kept', async () => {
  await using database = await openTestDatabase()
  const columns = { tags: 'text[]', blob: 'bytea', blobs: 'bytea[]' }
  await applySchema(database, { config: await resolveConfig({ collections: { 'a.b.c': { columns } } }) })
  const indexed = await resolveConfig({ collections: { 'a.b.c': { columns, indexes: ['tags', 'blob', 'blobs'] } } })
  const long = randomBytes(3_000)
  const text = long.toString('base64')
  await database.pool.query(
    `insert into c_rows (repo, rkey, cid, tags, blob, blobs) values
      (1, 'long', '', array['a', $1::text, null], $2::bytea, array['b', $2::bytea]), (1, 'short', '', '{c}', 'd', '{e}')`,
    [text, long],
  )
  await applySchema(database, { config: indexed })
  expect((await finish(database, { config: indexed })).built).toHaveLength(3)
  const { rows } = await database.pool.query(`select rkey, tags, blob, blobs from c_rows order by rkey`)
  expect(rows).toEqual([
    { rkey: 'long', tags: ['a', null, null], blob: null, blobs: [Buffer.from('b'), null] },
    { rkey: 'short', tags: ['c'], blob: Buffer.from('d'), blobs: [Buffer.from('e')] },
  ])
  const { rows: odd } = await database.pool.query<{ field: string; original: Buffer }>(
    `select field, original from oddity_rows where rkey = 'long' and code = 'TextTooLongForIndex' order by field`,
  )
  const options = { strict: false } // lengths of four bytes, as they are written without looking
  expect(odd.map(({ field, original }) => [field, decode(original, options)])).toEqual([
    ['blob', Uint8Array.from(long)],
    ['blobs', [Uint8Array.from(Buffer.from('b')), Uint8Array.from(long)]],
    ['tags', ['a', text, null]],
  ])
})

test('an index that Postgres refuses keeps neither the others nor the end of the load', async () => {
  await using database = await openWithLikes(100)
  await database.pool.query(
    `drop view "like" cascade; alter table like_rows alter column created_at type json using null`,
  ) // which no index takes
  await expect(finish(database, { config })).rejects.toMatchObject({
    code: 'IndexRefused',
    message: expect.stringMatching(/like_rows_created_at_idx \(.*json/),
  })
  const { rows } = await database.pool.query<{ name: string }>(
    `select indexname as name from pg_indexes where indexname = any($1) order by 1`,
    [names],
  )
  expect(rows.map(({ name }) => name)).toEqual(names.slice(1).sort())
  const loading = `select from pg_class where relname like '%_rows' and array_to_string(reloptions, ',') like '%autovacuum%'`
  expect((await database.pool.query(loading)).rowCount).toBe(0)
})

/** Holds a transaction open that every concurrent build waits for. */
async function blockBuilds({ pool }: Pick<TestDatabase, 'pool'>): Promise<AsyncDisposable> {
  const client = await pool.connect()
  await client.query('begin')
  await client.query(`insert into like_rows (repo, rkey, cid) values (1, 'open', '\\x')`)
  let released = false
  return {
    [Symbol.asyncDispose]: async () => {
      if (released) return
      released = true
      await client.query('rollback')
      client.release()
    },
  }
}

async function untilHalfBuilt({ pool }: Pick<TestDatabase, 'pool'>): Promise<void> {
  const invalid = 'select from pg_index where not indisvalid'
  await vi.waitUntil(async () => (await pool.query(invalid)).rowCount === 1, { timeout: 20_000 })
}
