import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { migrate, openDatabase } from './database.ts'
import { openTestDatabase } from './testing-database.ts'

const migrations = readdirSync(join(import.meta.dirname, '../../../migrations'))
  .map((file) => file.replace(/\.sql$/, ''))
  .sort()

test('a database that was only connected to, and not asked by Kysely, leaves no connection when it is closed', async () => {
  const database = await openTestDatabase()
  const second = await openDatabase({ url: database.url })
  expect(second.pool.totalCount).toBe(1)
  await second.close()
  expect(second.pool.totalCount).toBe(0)
  await database.close()
})

test('migrations run once, into the schema, as a role that is no superuser', async () => {
  await using database = await openTestDatabase({ migrated: false })
  expect(await migrate(database)).toEqual(migrations)
  expect(await migrate(database)).toEqual([])
  const schemas = await database.pool.query(
    `select distinct schemaname from pg_tables where tablename in ('repos', 'hosts', 'kysely_migration')`,
  )
  expect(schemas.rows).toEqual([{ schemaname: 'atproto' }])
  const role = await database.pool.query(`select rolsuper from pg_roles where rolname = current_user`)
  expect(role.rows).toEqual([{ rolsuper: false }])
})

test('processes that start together migrate one after the other', async () => {
  await using database = await openTestDatabase({ migrated: false })
  const runs = await Promise.all([migrate(database), migrate(database), migrate(database)])
  expect(runs.flat()).toEqual(migrations)
})
