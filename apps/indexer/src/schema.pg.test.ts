import { base32 } from 'multiformats/bases/base32'
import { microsFromTid, tidFromMicros } from 'repo-stream'
import { expect, test } from 'vitest'
import { loadConfig } from './config.ts'
import { camelCase } from './config-check.ts'
import { resolveConfig } from './config-resolve.ts'
import { openDatabase } from './database.ts'
import { jsonWords } from './project/short-forms.ts'
import { cidForms, didForms, jsonForm, uriForms } from './project/testing-short-forms.ts'
import { applySchema, refuseOtherTables } from './schema.ts'
import { administer, openTestDatabase } from './testing-database.ts'

test('the default schema is made once, also by processes that start together', async () => {
  await using database = await openTestDatabase()
  const config = await loadConfig({ collections: ['*'] })
  const changes = await Promise.all([1, 2, 3].map(() => applySchema(database, { config })))
  const created = config.tables.map((table) => table.name)
  expect(changes.map((change) => change.created.length).sort()).toEqual([0, 0, created.length])
  for (const { name } of config.tables) {
    const { rows } = await database.pool.query(`select * from "${name}" where did = 'did:plc:nobody'`)
    expect(rows).toEqual([])
  }
  const { rows } = await database.pool.query(`select * from accounts, rejects, oddities`)
  expect(rows).toEqual([])
})

test('CIDs turn into text and back, and TIDs into times', async () => {
  await using database = await openTestDatabase()
  await applySchema(database, { config: await loadConfig() })
  const cid = 'bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq'
  const { rows } = await database.pool.query(
    `select cid_text(cid_bytes($1)) as cid, octet_length(cid_bytes($1)) as bytes, tid_time('3jzfcijpj2z2a') as time,
      coalesce(tid_time('self'), tid_time('k222222222222')) as no_time, cid_text(cid_bytes('bafkqabtimvwgy3yk')) as identity`,
    [cid],
  )
  expect(rows).toEqual([
    {
      cid,
      bytes: 32,
      time: new Date(Math.floor((microsFromTid('3jzfcijpj2z2a') ?? 0) / 1000)),
      no_time: null,
      identity: 'bafkqabtimvwgy3yk',
    },
  ])
  const tids = [0, 1, 1_706_933_106_789_123, 2 ** 53 - 1].map((micros) => ({ tid: tidFromMicros(micros, 5), micros }))
  const read = await database.pool.query<{ micros: number }>(
    `select (extract(epoch from tid_time(tid)) * 1000000)::int8 as micros from unnest($1::text[]) with ordinality t (tid, n) order by n`,
    [tids.map(({ tid }) => tid)],
  )
  expect(read.rows.map(({ micros }) => micros)).toEqual(tids.map(({ micros }) => micros))
})

test('views show whole what rows hold in short forms', async () => {
  await using database = await openTestDatabase()
  await applySchema(database, { config: await loadConfig() })
  const read = async (expression: string, stored: readonly unknown[]) => {
    const text = `select ${expression} as whole from unnest($1::text[]) with ordinality s (stored, n) order by n`
    return (await database.pool.query<{ whole: unknown }>(text, [stored])).rows.map((row) => row.whole)
  }
  const [values, stored] = [0, 1] as const
  expect(await read('at_uri_text(stored)', column(uriForms, stored))).toEqual(column(uriForms, values))
  expect(await read('did_text(stored)', column(didForms, stored))).toEqual(column(didForms, values))
  expect(await read(`cid_text(decode(stored, 'hex'))`, column(cidForms, stored))).toEqual(column(cidForms, values))
  expect(await read(`encode(cid_bytes(stored), 'hex')`, column(cidForms, values))).toEqual(column(cidForms, stored))
  expect(await read('coalesce(at_uri_text(null), did_text(null), whole_jsonb(null)::text)', [''])).toEqual([null])
  const forms = jsonWords.map(jsonForm)
  expect(
    await read(
      'whole_jsonb(stored)',
      forms.map((form) => form.stored),
    ),
  ).toEqual(forms.map(({ whole }) => JSON.parse(whole)))
  const quoted = jsonWords.map((word) => JSON.stringify(word.stretch.text))
  expect(await read('whole_jsonb(stored)', quoted)).toEqual(jsonWords.map((word) => word.stretch.text))
})

const column = (pairs: readonly (readonly [string, string])[], index: 0 | 1) => pairs.map((pair) => pair[index])

test('collections named as what the schema holds get other names', async () => {
  await using database = await openTestDatabase()
  await applySchema(database, { config: await resolveConfig({ collections: { '*': 'json' } }) })
  const { rows } = await database.pool.query<{ name: string }>(
    `select relname as name from pg_class where relnamespace = 'atproto'::regnamespace and relkind in ('r', 'v')`,
  )
  const collections = Object.fromEntries(rows.map(({ name }) => [`org.birds.${camelCase(name)}`, {}]))
  const config = await resolveConfig({ collections: { ...collections, 'org.birds.*': 'json' } })
  const change = await applySchema(database, { config })
  expect(change.created).toHaveLength(rows.length)
  expect(rows.filter(({ name }) => change.created.includes(name))).toEqual([])
})

test('a name that something else has is refused', async () => {
  await using database = await openTestDatabase()
  await database.pool.query('create view bird as select 1 as mine')
  for (const [collection, name] of [
    ['org.birds.bird', 'bird'],
    ['org.birds.reposWaiting', 'repos_waiting'], // an index
  ] as const) {
    const config = await resolveConfig({ collections: { [collection]: {} } })
    await expect(applySchema(database, { config })).rejects.toMatchObject({ code: 'BadConfig', details: { name } })
  }
  expect((await database.pool.query('select * from bird')).rows).toEqual([{ mine: 1 }])
})

test('lookup functions of long names are one for each column', async () => {
  await using database = await openTestDatabase()
  const columns = Object.fromEntries(['left_cid', 'left_two', 'left_few'].map((name) => [`attachment_${name}`, 'cid']))
  const config = await resolveConfig({ collections: { 'a.b.c': { table: 't'.repeat(45), columns } } })
  await applySchema(database, { config })
  const { rows } = await database.pool.query(
    `select distinct prosrc from pg_proc where pronamespace = 'atproto'::regnamespace and proname like 'tttt%'`,
  )
  expect(rows).toHaveLength(5) // by URI, by CID, and by each column
})

test('a start with the same config waits for nobody who reads a view', async () => {
  await using database = await openTestDatabase()
  const config = await loadConfig({ collections: ['*'] })
  await applySchema(database, { config })
  const reader = await database.pool.connect()
  await reader.query('begin')
  for (const view of [...config.tables.map((table) => table.name), 'accounts', 'rejects', 'oddities']) {
    await reader.query(`select * from "${view}" limit 1`)
  }
  expect(await applySchema(database, { config })).toEqual({ created: [], changed: [], removed: [] })
  await reader.query('commit')
  reader.release()
})

test('a table that was dropped by hand is told of, and another takes its place under another name', async () => {
  await using database = await openTestDatabase()
  const named = (table: string) => resolveConfig({ collections: { 'a.b.thing': { table, columns: { one: 'text' } } } })
  await applySchema(database, { config: await named('thing') })
  await database.pool.query('drop table thing_rows cascade')
  const refused = { code: 'BadConfig', details: { name: 'thing_rows' } }
  await expect(applySchema(database, { config: await named('thing') })).rejects.toMatchObject(refused)
  await applySchema(database, { config: await named('other_thing') })
  expect((await database.pool.query('select * from other_thing')).rows).toEqual([])
  await expect(applySchema(database, { config: await named('thing') })).rejects.toMatchObject(refused)
})

test('a view that changes is read by those who could read it before', async () => {
  await using database = await openTestDatabase()
  const { pool } = database
  const withColumns = (...names: string[]) =>
    resolveConfig({
      collections: { 'a.b.thing': { columns: Object.fromEntries(names.map((name) => [name, 'text'])) } },
    })
  await applySchema(database, { config: await withColumns('one') })
  await pool.query('grant select on thing to pg_monitor with grant option; grant insert, delete on thing to public')
  const granted = `
    select grantee, privilege_type as privilege, is_grantable as "isGrantable" from information_schema.table_privileges
    where table_name = 'thing' and grantee <> current_user order by 1, 2`
  const before = await pool.query(granted)
  expect(before.rows).toHaveLength(3)
  await applySchema(database, { config: await withColumns('one', 'two') })
  expect((await pool.query(granted)).rows).toEqual(before.rows)
})

test('a table from before short forms gets its jsonb columns anew, and is filled again', async () => {
  await using database = await openTestDatabase()
  const config = await loadConfig({ collections: ['*'] })
  await applySchema(database, { config })
  await database.pool.query(`drop view records cascade; alter table records_rows drop column record, add column record jsonb;
    update collections set version = 0, projector = 0, view = '' where name = 'records'`)
  expect(await applySchema(database, { config })).toEqual({ created: [], changed: ['records'], removed: [] })
  await database.pool.query(
    `insert into records_rows (repo, collection, rkey, cid, record) values (1, 'a.b.c', 'a', '', '{"alt":1}')`,
  )
  expect((await database.pool.query('select record from records')).rows).toEqual([{ record: { alt: 1 } }])
  expect((await database.pool.query('select pg_typeof(record)::text as type from records_rows')).rows).toEqual([
    { type: 'text' },
  ])
  const { rows: work } = await database.pool.query(
    `select table_name from schema_changes where reason = 'missing-column'`,
  )
  expect(work).toEqual([{ table_name: 'records' }])
})

test('a database of another encoding is refused', async () => {
  await using database = await openTestDatabase()
  const name = `bytes_${process.pid}`
  await administer(database.url, (client) =>
    client.query(`create database ${name} encoding 'SQL_ASCII' locale 'C' template template0`),
  )
  try {
    const url = database.url.replace(/\/[^/?]*(\?|$)/, `/${name}$1`)
    await expect(openDatabase({ url })).rejects.toMatchObject({ code: 'BadUsage', details: { encoding: 'SQL_ASCII' } })
  } finally {
    await administer(database.url, (client) => client.query(`drop database ${name}`))
  }
})

test('a config that stores something else is not applied by what comes after a run', async () => {
  await using database = await openTestDatabase()
  const note = { columns: { text: 'text' } }
  const config = await resolveConfig({ collections: { 'a.b.note': note } })
  await refuseOtherTables(database, config) // nothing was applied yet
  await applySchema(database, { config })
  const indexed = await resolveConfig({ collections: { 'a.b.note': { ...note, indexes: ['text'] } } })
  await refuseOtherTables(database, config)
  await refuseOtherTables(database, indexed)
  for (const [collections, tables] of [
    [{ 'a.b.note': { columns: { text: 'text', size: 'int8' } } }, 'note'],
    [{ 'a.b.note': note, '*': 'json' }, 'records'],
    [{ 'a.b.other': note }, 'other, note'],
  ] as const) {
    const other = await resolveConfig({ collections })
    await expect(refuseOtherTables(database, other)).rejects.toMatchObject({ code: 'BadConfig', details: { tables } })
  }
})

test('rows of another projector are stale, also where an index or fewer columns come with it', async () => {
  await using database = await openTestDatabase()
  const columns = { text: 'text', size: 'int8' }
  const before = await resolveConfig({ collections: { 'a.b.note': { columns } } })
  for (const note of [{ columns }, { columns, indexes: ['text'] }, { columns: { text: 'text' } }]) {
    await applySchema(database, { config: before })
    await database.pool.query(
      'update collections set projector = projector - 1, version = version + 1; delete from schema_changes',
    )
    await applySchema(database, { config: await resolveConfig({ collections: { 'a.b.note': note } }) })
    const { rows } = await database.pool.query('select table_name, reason from schema_changes')
    expect(rows).toEqual([{ table_name: 'note', reason: 'missing-column' }])
  }
})

test('CIDs of a list are text, and the shortest CID is found', async () => {
  await using database = await openTestDatabase()
  await applySchema(database, {
    config: await resolveConfig({ collections: { 'a.b.c': { columns: { ids: 'cid[]', id: 'cid' } } } }),
  })
  const digest = Buffer.alloc(32, 7)
  const short = Buffer.from([1, 0x55, 0, 0])
  await database.pool.query(
    `insert into c_rows (repo, rkey, cid, ids, id) values (1, 'a', '', $1, $2), (1, 'b', '', '{}', null)`,
    [[digest, null, short], short],
  )
  const text = (bytes: Uint8Array) => base32.encode(bytes)
  const { rows } = await database.pool.query('select ids, id from c order by rkey')
  const whole = Buffer.concat([Buffer.from('01711220', 'hex'), digest])
  expect(rows).toEqual([
    { ids: [text(whole), null, text(short)], id: text(short) },
    { ids: [], id: null },
  ])
  expect((await database.pool.query('select rkey from c_by_id($1)', [text(short)])).rows).toEqual([{ rkey: 'a' }])
})
