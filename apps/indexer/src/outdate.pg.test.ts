import { makeDid } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import type { Config } from './config.ts'
import { resolveConfig } from './config-resolve.ts'
import { openLog } from './log.ts'
import { outdateRepos } from './outdate.ts'
import { estimateChanges, refetchCost } from './outdate-estimate.ts'
import { applySchema, confirmSchema } from './schema.ts'
import { openState } from './state.ts'
import { describeChanges } from './tables-verb.ts'
import { openTestDatabase, type TestDatabase } from './testing-database.ts'
import { insertRepos } from './testing-rows.ts'

const like = 'app.bsky.feed.like'
const post = 'app.bsky.feed.post'
const block = 'app.bsky.graph.block'
const likes = { [like]: { columns: { created_at: 'timestamptz' } } }

/** Account 0 has likes, 1 has posts that were left out, 2 has blocks in the generic table, 3 has nothing. */
async function openWith(config: Config): Promise<TestDatabase> {
  const database = await openTestDatabase()
  await applySchema(database, { config })
  expect(await outdateRepos(database, { config, process: 1 })).toEqual([]) // no change concerns a database without repos
  const record = (collection: string) => ({
    key: `${collection}/3jzfcijpj2z2a`,
    value: { $type: collection, text: 'a' },
  })
  const repos = [[record(like)], [], [record(block)], []].map((records, i) => ({
    did: makeDid(i),
    handle: `${i}.test`,
    records,
  }))
  await insertRepos(database, config, repos)
  await database.pool.query(`update repos set skipped = '{"${post}": 3}' where did = $1`, [makeDid(1)])
  await database.pool.query(`insert into counters values ('repos/done', 0, 4)`)
  return database
}

/** Handles of the repos that the new config makes stale, and why; as many as were said before. */
async function staleAfter(database: TestDatabase, config: Config): Promise<string[]> {
  await database.pool.query(`update repos set state = 'done', stale_reason = null`)
  const estimate = await estimateChanges(database, config)
  await applySchema(database, { config })
  const marked = await outdateRepos(database, { config, process: 1, window: 1 })
  expect(estimate.total).toEqual(await refetchCost(database))
  const [said, done] = [estimate.changes, marked].map((changes) => changes.reduce((sum, { repos }) => sum + repos, 0))
  expect(said).toBeGreaterThanOrEqual(done ?? 0)
  const { rows } = await database.pool.query<{ text: string }>(
    `select handle || ' ' || stale_reason as text from repos where state = 'stale' order by handle`,
  )
  return rows.map((row) => row.text)
}

test('a new column makes the repos stale that have rows in its table, and counts are kept', async () => {
  await using database = await openWith(await resolveConfig({ collections: likes }))
  const wider = { [like]: { columns: { created_at: 'timestamptz', via_uri: { type: 'at-uri', path: 'via.uri' } } } }
  expect(await staleAfter(database, await resolveConfig({ collections: wider }))).toEqual(['0.test missing-column'])
  const { rows } = await database.pool.query(
    `select name, sum(value)::int as value from counters group by name order by name`,
  )
  expect(rows).toEqual([
    { name: 'repos/done', value: 3 },
    { name: 'repos/stale', value: 1 },
  ])
})

test('less columns, or another index, make nothing stale', async () => {
  const two = { [like]: { columns: { created_at: 'timestamptz', subject: 'jsonb', name: 'text' } } }
  await using database = await openWith(await resolveConfig({ collections: two }))
  const indexed = {
    [like]: { columns: { created_at: 'timestamptz', subject: 'jsonb', name: 'text' }, indexes: ['name'] },
  }
  expect(await staleAfter(database, await resolveConfig({ collections: indexed }))).toEqual([])
  expect(await staleAfter(database, await resolveConfig({ collections: likes }))).toEqual([])
})

test('a new collection makes the repos stale that left its records out', async () => {
  await using database = await openWith(await resolveConfig({ collections: likes }))
  expect(await staleAfter(database, await resolveConfig({ collections: { ...likes, [post]: {} } }))).toEqual([
    '1.test missing-collection',
  ])
  expect(
    await staleAfter(database, await resolveConfig({ collections: { ...likes, [post]: {}, 'app.bsky.*': 'json' } })),
  ).toEqual(['1.test missing-collection'])
})

test('a collection that moves to another table makes the repos stale that have it in the old one', async () => {
  await using database = await openWith(await resolveConfig({ collections: { ...likes, '*': 'json' } }))
  const typed = { ...likes, [block]: { columns: { created_at: 'timestamptz' } }, '*': 'json' }
  expect(await staleAfter(database, await resolveConfig({ collections: typed }))).toEqual(['2.test missing-collection'])
  const renamed = { [like]: { table: 'hearts', columns: { created_at: 'timestamptz' } } }
  expect(await staleAfter(database, await resolveConfig({ collections: renamed }))).toEqual([
    '0.test missing-collection',
  ])
})

test('a table that no config named for a while is filled again, and its rows were never dropped', async () => {
  const both = await resolveConfig({ collections: { ...likes, [post]: {} } })
  await using database = await openWith(both)
  const without = await resolveConfig({ collections: { [post]: {} } })
  expect(await applySchema(database, { config: without })).toEqual({ created: [], changed: [], removed: ['like'] })
  expect(await applySchema(database, { config: without })).toEqual({ created: [], changed: [], removed: [] })
  expect((await database.pool.query('select * from "like"')).rows.length).toBe(1)
  expect(await staleAfter(database, both)).toEqual(['0.test missing-collection'])
})

test('a column of another type takes the place of its namesake, also under a view', async () => {
  await using database = await openWith(await resolveConfig({ collections: likes }))
  const retyped = await resolveConfig({ collections: { [like]: { columns: { created_at: 'text', extra: 'int8' } } } })
  expect(await staleAfter(database, retyped)).toEqual(['0.test missing-column'])
  expect((await database.pool.query('select created_at, extra from "like"')).rows).toEqual([
    { created_at: null, extra: null },
  ])
})

test('a column of another type whose view reads the same is still there to be read', async () => {
  await using database = await openWith(await resolveConfig({ collections: { [like]: { columns: { n: 'text' } } } }))
  const retyped = await resolveConfig({ collections: { [like]: { columns: { n: 'int8' } } } })
  expect(await staleAfter(database, retyped)).toEqual(['0.test missing-column'])
  expect((await database.pool.query('select n from "like"')).rows).toEqual([{ n: null }])
})

test('a column that comes back with another type takes the place of the one that stayed', async () => {
  const columns = (extra: object) => ({ [like]: { columns: { created_at: 'timestamptz', ...extra } } })
  await using database = await openWith(await resolveConfig({ collections: columns({ subject: 'jsonb' }) }))
  await database.pool.query(`update like_rows set subject = '{}'`)
  expect(await staleAfter(database, await resolveConfig({ collections: columns({}) }))).toEqual([])
  const back = await resolveConfig({ collections: columns({ subject: 'text' }) })
  expect(await staleAfter(database, back)).toEqual(['0.test missing-column'])
  expect((await database.pool.query('select subject from "like"')).rows).toEqual([{ subject: null }])
})

test('a table name of one collection is refused for another, and nothing is changed', async () => {
  await using database = await openWith(await resolveConfig({ collections: likes }))
  const other = 'com.example.like'
  const config = await resolveConfig({
    collections: { [other]: { columns: { created_at: 'timestamptz' } }, [post]: {} },
  })
  const refusal = { code: 'BadConfig', message: expect.stringMatching(`${like}.*${other}`) }
  await expect(applySchema(database, { config })).rejects.toMatchObject(refusal)
  await expect(estimateChanges(database, config)).rejects.toMatchObject(refusal)
  expect((await database.pool.query('select name from collections')).rows).toEqual([{ name: 'like' }])
  const named = await resolveConfig({ collections: { [other]: { table: 'other_like', columns: {} } } })
  expect((await applySchema(database, { config: named })).created).toEqual(['other_like'])
  await expect(applySchema(database, { config })).rejects.toMatchObject(refusal) // its rows are there still
})

test('a collection that loses its own table is filled into the generic one that was there', async () => {
  await using database = await openWith(await resolveConfig({ collections: { ...likes, '*': 'json' } }))
  const generic = await resolveConfig({ collections: { '*': 'json' } })
  expect(await staleAfter(database, generic)).toEqual(['0.test missing-collection'])
  expect(await staleAfter(database, generic)).toEqual([])
})

test('a repo that is gone while the config changes is fetched again when it comes back', async () => {
  await using database = await openWith(await resolveConfig({ collections: likes }))
  const config = await resolveConfig({ collections: { [like]: { columns: { created_at: 'timestamptz', n: 'int8' } } } })
  await database.pool.query(`update repos set resolved_at = now()`)
  const state = await openState(database)
  await state.readSource('relay')
  const listed = (as: { active: boolean; status?: string; rev?: string }) => {
    return { source: 'relay', cursor: 'c', finished: false, repos: [0, 3].map((i) => ({ did: makeDid(i), ...as })) }
  }
  expect(await state.commitPage(listed({ active: false, status: 'deactivated' }))).toMatchObject({ retired: 2 })
  await state.end()
  await applySchema(database, { config })
  expect(await outdateRepos(database, { config, process: 1 })).toMatchObject([{ repos: 0 }])
  const back = await openState(database)
  await back.readSource('relay')
  expect(await back.commitPage(listed({ active: true, rev: '3jzfcijpj2z2a' }))).toMatchObject({ revived: 2 })
  expect(await back.readBalance()).toMatchObject({ done: 3, stale: 1, gone: 0 })
  await back.end()
  const { rows } = await database.pool.query(
    `select handle, state, stale_reason as why from repos where handle in ('0.test', '3.test') order by handle`,
  )
  expect(rows).toEqual([
    { handle: '0.test', state: 'stale', why: 'missing-column' },
    { handle: '3.test', state: 'done', why: null },
  ])
})

test('a changed config waits for the processes that work with the one before; the same config starts beside them', async () => {
  const before = await resolveConfig({ collections: likes })
  await using database = await openWith(before)
  const state = await openState(database)
  const changed = [{ [post]: {} }, { ...likes, [post]: {} }, { [like]: {} }, { ...likes, '*': 'json' }]
  for (const collections of changed) {
    const applying = applySchema(database, { config: await resolveConfig({ collections }) })
    await expect(applying).rejects.toMatchObject({
      code: 'DatabaseBusy',
      message: expect.stringContaining('another config'),
    })
  }
  expect(await applySchema(database, { config: before })).toEqual({ created: [], changed: [], removed: [] })
  await confirmSchema(database, before)

  await database.pool.query(`update processes set beat_at = now() - interval '1 hour'`) // dead, and nobody has noticed
  const config = await resolveConfig({ collections: { ...likes, [post]: {} } })
  expect(await applySchema(database, { config })).toMatchObject({ created: ['post'] })
  await expect(confirmSchema(database, before)).rejects.toMatchObject({ code: 'DatabaseBusy' })
  await confirmSchema(database, config)
  await state.end()
})

test('a view that something of the user depends on is not dropped behind their back', async () => {
  await using database = await openWith(await resolveConfig({ collections: likes }))
  await database.pool.query('create view mine as select did from "like"')
  const config = await resolveConfig({ collections: { [like]: { columns: { created_at: 'text' } } } })
  await expect(applySchema(database, { config })).rejects.toMatchObject({
    code: 'SchemaInUse',
    message: expect.stringContaining('view mine'),
  })
  expect((await database.pool.query('select created_at from "like"')).rows.length).toBe(1)
})

test('what a change would cost is said before anything is done, at the rate of the host that takes longest', async () => {
  await using database = await openWith(await resolveConfig({ collections: likes }))
  const config = await resolveConfig({ collections: { ...likes, [post]: {}, '*': 'json' } })
  await database.pool.query(`update hosts set limits = '{"limit": 2, "windowMs": 60000}'`)
  await database.pool.query(`update repos set skipped = '{"${block}": 1}' where handle = '2.test'`)
  await database.pool.query(`update repos set records = 700 where handle in ('0.test', '1.test')`)
  const options = { config: undefined, collections: [], schema: database.schema, database: database.url, dataDir: '' }
  const log = openLog({ json: true, level: 'fatal' })
  expect(await describeChanges(options, { config, log })).toBe(
    `post: missing-collection, 1 repos
records: missing-collection, 2 repos
run would fetch 2 repos with 700 records, 60 s at the rate that their hosts allow; reproject takes those that are archived from there.
`,
  )
  expect((await database.pool.query('select from schema_changes')).rows).toEqual([])
  expect(await describeChanges(options, { config: await resolveConfig({ collections: likes }), log })).toContain(
    'Nothing',
  )
})
