// What becomes of the rows of repos that are gone: those of deleted accounts are removed, those of inactive ones hidden, kept or
// removed, as the option says. Done now and then, not with each account: a deactivation often lasts an hour.
import type { PoolClient } from 'pg'
import { CounterChanges, counterWriter } from './counters.ts'
import { transact } from './database-transact.ts'
import { quoteName } from './schema-sql.ts'
import type { WriterOptions } from './write.ts'
import { removeRows } from './write-refetch.ts'
import type { RoleContext } from './write-tables.ts'

export type InactivePolicy = 'hide' | 'keep' | 'delete'

export interface GoneOutcome {
  removed: number
  hidden: number
  shown: number
}

/** Repos whose rows go in one transaction; a large one has millions. */
const reposPerTransaction = 20

type GoneContext = RoleContext & Pick<WriterOptions, 'onRemove'>

export async function settleGone(policy: InactivePolicy, context: GoneContext): Promise<GoneOutcome> {
  const { pool } = context.database
  const outcome = { removed: 0, hidden: 0, shown: 0 }
  for (;;) {
    const removed = await transact(pool, (client) => removeSome(client, policy, context))
    outcome.removed += removed
    if (removed < reposPerTransaction) break
  }
  const { rowCount } = await transact(pool, (client) => client.query(policy === 'keep' ? showKept : hideRest))
  outcome[policy === 'keep' ? 'shown' : 'hidden'] = rowCount ?? 0
  return outcome
}

interface Gone {
  id: number
  did: string
  skipped: Record<string, number> | null
}

async function removeSome(client: PoolClient, policy: InactivePolicy, context: GoneContext): Promise<number> {
  const { rows } = await client.query<Gone>(lockGone, [policy === 'delete', reposPerTransaction])
  if (rows.length === 0) return 0
  const changes = new CounterChanges()
  const ids = rows.map(({ id }) => id)
  await removeRows(client, { ids, changes }, context)
  await removeLeftRows(client, { ids, changes })
  for (const { skipped } of rows) {
    for (const [collection, records] of Object.entries(skipped ?? {})) changes.add(`skipped/${collection}`, -records)
  }
  await client.query(`delete from hidden_repos where repo = any($1)`, [ids])
  await client.query(emptyRepos, [ids])
  await context.onRemove?.(rows.map(({ did }) => did)) // first what no transaction brings back
  await changes.write(client, counterWriter(context.process(), context.role))
  return rows.length
}

/** Tables that the config names no more keep their rows in case it will, but not those of whoever is gone. One may have been dropped by hand. */
async function removeLeftRows(
  client: PoolClient,
  { ids, changes }: { ids: readonly number[]; changes: CounterChanges },
): Promise<void> {
  const { rows } = await client.query<{ name: string; rowsName: string }>(
    `select name, rows_name as "rowsName" from collections
     where removed_at is not null and to_regclass(quote_ident(rows_name)) is not null order by name`,
  )
  for (const { name, rowsName } of rows) {
    const { rowCount } = await client.query(`delete from ${quoteName(rowsName)} where repo = any($1)`, [ids])
    changes.add(`rows/${name}`, -(rowCount ?? 0))
  }
}

// Leans on repos_gone.
const lockGone = `
  select id, did, skipped from repos
  where state = 'gone' and rev is not null and (status = 'deleted' or $1::boolean)
  order by id limit $2 for update skip locked`

const emptyRepos = `
  update repos set rev = null, head = null, records = 0, rejected = 0, skipped = null, projection_version = null where id = any($1)`

const showKept = `delete from hidden_repos h using repos r where r.id = h.repo and r.state = 'gone'`

// Locked, so that none is hidden that another process has just brought back.
const hideRest = `
  with rest as (
    select id from repos r where state = 'gone' and rev is not null and not exists (select from hidden_repos h where h.repo = r.id)
    order by id for share
  )
  insert into hidden_repos (repo) select id from rest on conflict do nothing`
