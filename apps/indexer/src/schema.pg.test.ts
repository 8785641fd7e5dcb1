import { microsFromTid } from 'repo-stream'
import { expect, test } from 'vitest'
import { loadConfig } from './config.ts'
import { applySchema } from './schema.ts'
import { openTestDatabase } from './testing-database.ts'

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
      tid_time('self') as no_time, cid_text(cid_bytes('bafkqabtimvwgy3yk')) as identity`,
    [cid],
  )
  expect(rows).toEqual([
    {
      cid,
      bytes: 36,
      time: new Date(Math.floor((microsFromTid('3jzfcijpj2z2a') ?? 0) / 1000)),
      no_time: null,
      identity: 'bafkqabtimvwgy3yk',
    },
  ])
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
