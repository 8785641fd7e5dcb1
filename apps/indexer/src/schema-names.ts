// Refuses a table whose name is not free, or whose rows somebody has dropped. In: a table of the config. Throws `BadConfig`.
import type { PoolClient } from 'pg'
import type { Table } from './config.ts'
import { IndexerError } from './errors.ts'
import { tableName } from './schema-sql.ts'

/** For a table that is new: a view of the user's would be replaced. A name may also be that of an index or a sequence of ours. */
export async function refuseTakenNames(
  client: PoolClient,
  schema: string,
  { name, rowsName, collections, indexes }: Table,
): Promise<void> {
  const { rows } = await client.query<{ taken: string }>(
    'select relname as taken from pg_class where relnamespace = $1::regnamespace and relname = any($2)',
    [schema, [name, rowsName, ...indexes.map((index) => index.name)]],
  )
  const [first] = rows
  if (first === undefined) return
  const message = `the schema '${schema}' has something named '${first.taken}' already: give ${collections[0]} a 'table' of another name`
  throw new IndexerError('BadConfig', message, { details: { name: first.taken } })
}

/** For one that was made before. What was in it is counted, and its repos are done: an empty one in its place would stay empty. */
export async function refuseDropped(client: PoolClient, schema: string, table: Table): Promise<void> {
  const { rows } = await client.query<{ isThere: boolean }>('select to_regclass($1) is not null as "isThere"', [
    `${schema}.${tableName(table)}`,
  ])
  if (rows[0]?.isThere === true) return
  const { rowsName, collections } = table
  const message = `the table '${rowsName}' is gone: restore it, or give ${collections[0]} a 'table' of another name, which is filled anew`
  throw new IndexerError('BadConfig', message, { details: { name: rowsName } })
}
