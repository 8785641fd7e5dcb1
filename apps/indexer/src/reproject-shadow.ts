// The second schema, which reproject fills beside the one that readers see: an open database in, one like it with empty tables of
// the new config out, or the one that a kill left half filled. The surprise: it is a whole crawl database, with `repos` and
// counters of its own, so that the writer that fills it is the one that `run` uses.
import type { Config } from './config.ts'
import { type Database, migrate, openDatabase } from './database.ts'
import { ask } from './database-transact.ts'
import { IndexerError } from './errors.ts'
import { createTableStatement, quoteText } from './schema-sql.ts'

export interface Shadow extends AsyncDisposable {
  database: Database
  /** Repos that are left to be filled in. */
  left: number
}

/** A shadow of another config is dropped. Throws `BadUsage` for a schema of that name that is not ours. */
export async function openShadow(live: Database, config: Config): Promise<Shadow> {
  const schema = shadowSchema(live)
  const made = `${ours}${config.version}`
  const before = await commentOf(live, schema)
  if (before !== undefined && before?.startsWith(ours) !== true) {
    throw new IndexerError(
      'BadUsage',
      `the schema ${schema}, where reproject works, is somebody else's: rename or drop it`,
    )
  }
  if (before !== made) {
    // Statements that are sent together are one transaction.
    const make = `create schema ${schema}; comment on schema ${schema} is ${quoteText(made)}`
    await ask(live.pool, `drop schema if exists ${schema} cascade; ${make}`)
  }
  const database = await openDatabase({ url: live.url, schema })
  try {
    await migrate(database)
    for (const table of config.tables) {
      const { rowCount } = await ask(live.pool, { text: findTable, values: [schema, table.rowsName] })
      if (rowCount === 0) await ask(live.pool, createTableStatement(schema, table))
    }
    const left = await syncRepos(live, schema)
    return { database, left, [Symbol.asyncDispose]: () => database.close() }
  } catch (error) {
    await database.close()
    throw error
  }
}

export function shadowSchema({ schema }: Pick<Database, 'schema'>): string {
  return `${schema}_reproject`
}

/** The claim of all repos that are to be filled in; nobody else works there. */
export const shadowClaim = '1'

const ours = 'reproject, config '

const findTable = `select from pg_tables where schemaname = $1 and tablename = $2`

/** undefined: there is no such schema. */
async function commentOf({ pool }: Database, schema: string): Promise<string | null | undefined> {
  const text = `select obj_description(oid, 'pg_namespace') as made from pg_namespace where nspname = $1`
  const { rows } = await ask<{ made: string | null }>(pool, { text, values: [schema] })
  return rows[0]?.made
}

/**
 * In the shadow a repo is `working` until it is filled in, then `done` (from the archive) or `stale` (its rows were taken over as
 * they are). A `run` since a kill may have changed any: those are filled in again, under the rev that the shadow has of them.
 */
async function syncRepos({ pool, schema }: Database, shadow: string): Promise<number> {
  await ask(pool, addRepos(schema, shadow))
  await ask(pool, redoChanged(schema, shadow))
  const { rows } = await ask<{ left: number }>(
    pool,
    `select count(*)::int8 as left from ${shadow}.repos where state = 'working'`,
  )
  return rows[0]?.left ?? 0
}

function addRepos(live: string, shadow: string): string {
  return `
  insert into ${shadow}.repos (id, did, state, claim) overriding system value
  select id, did, 'working', ${shadowClaim} from ${live}.repos where rev is not null order by id
  on conflict do nothing`
}

function redoChanged(live: string, shadow: string): string {
  return `
  update ${shadow}.repos s set state = 'working', claim = ${shadowClaim}
  from ${live}.repos l
  where l.id = s.id and s.state <> 'working' and (
    (l.rev, l.head) is distinct from (s.rev, s.head)
    or s.state = 'stale'
      and (l.projection_version, l.records, l.rejected) is distinct from (s.projection_version, s.records, s.rejected))`
}
