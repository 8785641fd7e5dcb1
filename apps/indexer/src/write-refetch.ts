// Removes what is stored of repos that are about to be written again, and takes it off the counters.
import type { PoolClient } from 'pg'
import type { CounterChanges } from './counters.ts'
import type { WriteContext } from './write-tables.ts'

/** Each delete leans on the primary key, which begins with the repo. Not prepared: a plan for any number of repos is a bad one. */
export async function removeRows(
  client: PoolClient,
  { ids, changes }: { ids: readonly number[]; changes: CounterChanges },
  { tables }: WriteContext,
): Promise<void> {
  for (const { name, table } of tables.values()) {
    const { rowCount } = await client.query(`delete from ${name} where repo = any($1)`, [ids])
    changes.add(`rows/${table.name}`, -(rowCount ?? 0))
  }
  await removeRefused(client, { ids, changes })
}

/** Rejects and oddities are few, and written anew whatever they were. */
export async function removeRefused(
  client: PoolClient,
  { ids, changes }: { ids: readonly number[]; changes: CounterChanges },
): Promise<void> {
  const rejects = await client.query(`delete from reject_rows where repo = any($1)`, [ids])
  const oddities = await client.query(`delete from oddity_rows where repo = any($1)`, [ids])
  changes.add('rejected', -(rejects.rowCount ?? 0))
  changes.add('oddities', -(oddities.rowCount ?? 0))
}
