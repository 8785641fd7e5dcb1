// Spreads the collection tables over the nodes of a Citus cluster (`--citus`, experimental): the config's tables in, distributed
// ones out. Rows lie by repo, all tables alike, so that a repo's rows are on one node and a COPY of many repos goes to all of them.
// Everything else stays a plain table of the coordinator, and with it the fence: the lock of a repo's row decides who writes.
import type { ClientBase } from 'pg'
import type { Config } from './config.ts'
import { IndexerError } from './errors.ts'
import { tableName } from './schema-sql.ts'

/** Throws `CitusMissing`. Tables that are distributed already are left alone; rows of others move, which takes long. */
export async function distributeTables(
  client: ClientBase,
  { config, schema }: { config: Config; schema: string },
): Promise<string[]> {
  const { rows: functions } = await client.query<{ there: boolean }>(findCitus)
  if (functions[0]?.there !== true) {
    const message =
      '--citus: the database has no Citus. Run "create extension citus" on the coordinator, or leave --citus out'
    throw new IndexerError('CitusMissing', message)
  }
  const { rows } = await client.query<{ name: string }>(listDistributed, [schema])
  const distributed = rows.map(({ name }) => name)
  const [first] = distributed
  let anchor = first ?? config.tables[0]?.rowsName
  const made: string[] = []
  for (const table of config.tables) {
    if (distributed.includes(table.rowsName)) continue
    const colocateWith = anchor === table.rowsName ? 'none' : `${schema}.${anchor}`
    await client.query(distributeStatement, [`${schema}.${tableName(table)}`, colocateWith])
    anchor ??= table.rowsName
    made.push(table.rowsName)
  }
  return made
}

const findCitus = `select to_regproc('create_distributed_table') is not null as there`

/** The catalog of Citus; it lists a schema's distributed tables with their column. */
const listDistributed = `
  select c.relname as name from pg_dist_partition d
  join pg_class c on c.oid = d.logicalrelid
  join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = $1 and d.partmethod = 'h'
  order by c.oid`

const distributeStatement = `select create_distributed_table($1::regclass, 'repo', colocate_with => $2)`
