// Repos that the archive cannot fill in: their rows are taken over into the shadow as they are, so that readers keep them.
// Input: ids; output: their rows, rejects, oddities and counts in the shadow, in one transaction.
import type { PoolClient } from 'pg'
import type { Table } from './config.ts'
import { CounterChanges, counterWriter } from './counters.ts'
import { transact } from './database-transact.ts'
import type { AppliedTable } from './schema-changes.ts'
import { quoteName } from './schema-sql.ts'
import { lock } from './write-fence.ts'
import { removeRows } from './write-refetch.ts'
import type { WriteContext } from './write-tables.ts'

export interface CarryContext extends WriteContext {
  /** The schema that readers see; `database` is the shadow. */
  live: string
  /** The tables there, as the config before made them. */
  applied: ReadonlyMap<string, AppliedTable>
}

/** A repo that has no rows any more leaves the shadow. */
export async function carryRepos(ids: readonly number[], context: CarryContext): Promise<void> {
  if (ids.length === 0) return
  await transact(context.database.pool, async (client) => {
    const changes = new CounterChanges()
    const locked = [...(await lock(client, ids)).values()]
    const countSkipped = (skipped: Record<string, number> | null, sign: 1 | -1) => {
      for (const [collection, records] of Object.entries(skipped ?? {}))
        changes.add(`skipped/${collection}`, sign * records)
    }
    for (const { skipped } of locked) countSkipped(skipped, -1)
    const filled = locked.filter(({ rev }) => rev !== null).map(({ id }) => id)
    if (filled.length > 0) await removeRows(client, { ids: filled, changes }, context)
    await copyRows(client, { ids, changes }, context)
    const { rows } = await client.query<{ skipped: Record<string, number> | null }>(takeOver(context.live), [ids])
    for (const { skipped } of rows) countSkipped(skipped, 1)
    await client.query(`delete from repos where id = any($1) and state = 'working'`, [ids])
    await changes.write(client, counterWriter(context.process(), 0))
  })
}

async function copyRows(
  client: PoolClient,
  { ids, changes }: { ids: readonly number[]; changes: CounterChanges },
  { tables, live, applied }: CarryContext,
): Promise<void> {
  for (const { table } of tables.values()) {
    const without = retypedColumns(table, applied.get(table.name))
    changes.add(`rows/${table.name}`, await copyTable(client, ids, { live, name: table.rowsName, without }))
  }
  changes.add('rejected', await copyTable(client, ids, { live, name: 'reject_rows', without: [] }))
  changes.add('oddities', await copyTable(client, ids, { live, name: 'oddity_rows', without: [] }))
}

/** Several types are text to Postgres, each in a form of its own, so that it is the config's word that counts. */
function retypedColumns(table: Table, before: AppliedTable | undefined): string[] {
  const known = new Map(before?.columns.map((column) => [column.name, column.type]))
  return table.columns.filter((column) => known.get(column.name) !== column.type).map((column) => column.name)
}

/** Columns that both have with the same type; a new one is null until the repo is fetched again. */
async function copyTable(
  client: PoolClient,
  ids: readonly number[],
  { live, name, without }: { live: string; name: string; without: string[] },
): Promise<number> {
  const { rows } = await client.query<{ column: string }>(commonColumns, [
    quoteName(name),
    `${live}.${quoteName(name)}`,
    without,
  ])
  if (rows.length === 0) return 0 // a new table
  const columns = rows.map(({ column }) => quoteName(column)).join(', ')
  const text = `insert into ${quoteName(name)} (${columns}) select ${columns} from ${live}.${quoteName(name)} where repo = any($1)`
  return (await client.query(text, [ids])).rowCount ?? 0
}

const commonColumns = `
  select n.attname as column from pg_attribute n join pg_attribute o on o.attname = n.attname and o.atttypid = n.atttypid
  where n.attrelid = to_regclass($1) and o.attrelid = to_regclass($2) and n.attname <> all($3::text[])
    and n.attnum > 0 and o.attnum > 0 and not n.attisdropped and not o.attisdropped
  order by n.attnum`

function takeOver(live: string): string {
  return `
  update repos s
  set state = 'stale', claim = null, rev = l.rev, head = l.head, records = l.records, rejected = l.rejected, skipped = l.skipped,
      projection_version = l.projection_version
  from ${live}.repos l where l.id = s.id and s.id = any($1) and l.rev is not null
  returning s.skipped`
}
