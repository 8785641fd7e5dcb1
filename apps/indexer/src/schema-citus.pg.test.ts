// There is no Citus here: its two objects that we use are stood in for, in the database, by plain ones that only take note. So this
// shows what is asked of Citus and in which order, not that Citus does it.
import { expect, test } from 'vitest'
import { loadConfig } from './config.ts'
import { applySchema } from './schema.ts'
import { openTestDatabase, type TestDatabase } from './testing-database.ts'

const config = await loadConfig()

async function standIn({ pool }: TestDatabase): Promise<void> {
  await pool.query(`
    create table pg_dist_partition (
      asked serial, logicalrelid regclass, partmethod "char" default 'h', partkey text, colocated_with text
    );
    create function create_distributed_table(
      table_name regclass, distribution_column text, distribution_type text default 'hash',
      colocate_with text default 'default', shard_count int default null
    ) returns void language sql as $$
      insert into pg_dist_partition (logicalrelid, partkey, colocated_with) values (table_name, distribution_column, colocate_with)
    $$`)
}

test('without Citus --citus says so, and nothing was made', async () => {
  await using database = await openTestDatabase()
  await expect(applySchema(database, { config, citus: true })).rejects.toMatchObject({ code: 'CitusMissing' })
  const { rows } = await database.pool.query(`select to_regclass('post_rows') as made`)
  expect(rows).toEqual([{ made: null }])
})

test('only collection tables are distributed, once, by repo, all in one place', async () => {
  await using database = await openTestDatabase()
  await standIn(database)
  const { pool } = database
  await applySchema(database, { config: { ...config, tables: config.tables.slice(0, 3) }, citus: true })
  await applySchema(database, { config, citus: true })
  await applySchema(database, { config, citus: true })
  const { rows } = await pool.query<{ name: string; partkey: string; with: string }>(
    `select logicalrelid::text as name, partkey, colocated_with as "with" from pg_dist_partition order by asked`,
  )
  expect(rows.map(({ name }) => name.replaceAll('"', ''))).toEqual(config.tables.map(({ rowsName }) => rowsName))
  const [anchor, ...others] = rows
  expect(anchor).toMatchObject({ partkey: 'repo', with: 'none' })
  expect(new Set(others.map((row) => `${row.partkey} ${row.with}`))).toEqual(
    new Set([`repo ${database.schema}.${config.tables[0]?.rowsName}`]),
  )
  const unique = await pool.query(`
    select c.relname from pg_index i join pg_class c on c.oid = i.indrelid join pg_dist_partition d on d.logicalrelid = c.oid
    join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]
    where i.indisunique and a.attname <> 'repo'`)
  expect(unique.rows, 'a unique index of a distributed table has its column').toEqual([])
})
