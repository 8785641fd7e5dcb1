// Databases whose owner has other defaults than ours, as they are set for people's queries.
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { resolveConfig } from './config-resolve.ts'
import { openDatabase } from './database.ts'
import { applySchema } from './schema.ts'
import { runSql } from './sql.ts'
import { administer, openTestDatabase, type TestDatabase } from './testing-database.ts'

async function setDefaults({ pool }: TestDatabase, settings: Record<string, string>): Promise<void> {
  const { rows } = await pool.query<{ name: string }>('select current_database() as name')
  for (const [setting, value] of Object.entries(settings))
    await pool.query(`alter database ${rows[0]?.name} set ${setting} = '${value}'`)
}

test('timeouts that a database has for people end no statement and no transaction of ours', async () => {
  await using test = await openTestDatabase()
  const timeouts = ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout']
  await setDefaults(test, Object.fromEntries(timeouts.map((name) => [name, '500ms'])))
  const { rows } = await test.pool.query<{ version: number }>(
    `select current_setting('server_version_num')::int as version`,
  )
  if (Number(rows[0]?.version) >= 170_000) await setDefaults(test, { transaction_timeout: '1s' })

  const database = await openDatabase(test)
  const client = await database.pool.connect()
  try {
    await sleep(600)
    await client.query('begin; select pg_sleep(0.6)')
    await sleep(600)
    await client.query('commit')
  } finally {
    client.release()
    await database.close()
  }
})

test('a transaction sees what was committed while it waited, whatever isolation a database has for people', async () => {
  await using test = await openTestDatabase()
  await setDefaults(test, { default_transaction_isolation: 'serializable' })
  const [one, other] = [await openDatabase(test), await openDatabase(test)]
  try {
    const config = await resolveConfig({ collections: { 'a.b.note': { columns: { text: 'text' } } } })
    const changes = await Promise.all([one, other].map((database) => applySchema(database, { config })))
    expect(changes.flatMap(({ created }) => created)).toEqual(['note'])
    const { rows } = await one.pool.query('show transaction_isolation')
    expect(rows).toEqual([{ transaction_isolation: 'read committed' }])
  } finally {
    await one.close()
    await other.close()
  }
})

test('times and nulls are read and written as they are, whatever form a database has for people', async () => {
  await using test = await openTestDatabase()
  await setDefaults(test, { datestyle: 'German', timezone: 'Asia/Kolkata', array_nulls: 'off', bytea_output: 'escape' })
  const database = await openDatabase(test)
  try {
    const text = `select timestamptz '2026-02-03T04:05:06Z' as at, array_position($1::text[], null) as null_at, '\\x00ff'::bytea as bytes`
    const { rows } = await database.pool.query(text, [['a', null]])
    expect(rows).toEqual([{ at: new Date('2026-02-03T04:05:06Z'), null_at: 2, bytes: Buffer.from([0, 255]) }])
  } finally {
    await database.close()
  }
})

test('CIDs are shown and looked up where strings have backslash escapes', async () => {
  await using test = await openTestDatabase()
  await setDefaults(test, { standard_conforming_strings: 'off', escape_string_warning: 'off' })
  const database = await openDatabase(test)
  await applySchema(database, { config: await resolveConfig({ collections: { '*': 'json' } }) })
  await database.close()
  for (const cid of ['bafyreia22y6tynbek26muhklao22mvfpjsjllgmfdaumr6ml6dw5quafiu', 'bafkqaaa']) {
    const text = `select atproto.cid_text(atproto.cid_bytes($1)) as cid`
    const { rows } = await administer(test.url, (client) => client.query(text, [cid]))
    expect(rows).toEqual([{ cid }])
  }
})

test('`sql` finds the views and ends at its time, whatever options the URL has', async () => {
  await using test = await openTestDatabase()
  const url = `${test.url}${test.url.includes('?') ? '&' : '?'}options=${encodeURIComponent('-c work_mem=8MB')}`
  const options = { url, schema: test.schema, timeoutMs: 1_000 }
  expect(await runSql('select count(*) as repos from repos', options)).toMatch(/^repos\n-+\n +0\n/)
  await expect(runSql('select pg_sleep(60)', options)).rejects.toMatchObject({ details: { sqlState: '57014' } })
})

test('`sql` has no timeout but its own, and says what ended its connection', async () => {
  await using test = await openTestDatabase()
  await setDefaults(test, { statement_timeout: '500ms', idle_in_transaction_session_timeout: '500ms' })
  const options = { url: test.url, schema: test.schema, timeoutMs: 0 }
  expect(await runSql('select pg_sleep(0.6)', options)).toMatch(/^pg_sleep/)
  await expect(runSql('select pg_terminate_backend(pg_backend_pid())', options)).rejects.toMatchObject({
    code: 'QueryRefused',
    details: { sqlState: '57P01' },
  })
})
