// Makes and alters the collection tables, views and functions from the config, and records in `collections` what it applied.
// Input: a migrated database. Safe to run at any time, by many processes at once. The surprise: nothing is ever dropped
// with its rows: a column or table that the config no longer names stays, out of the view's sight.
import { createHash } from 'node:crypto'
import type { Pool, PoolClient } from 'pg'
import type { Config, Table } from './config.ts'
import { projectorVersion } from './config-resolve.ts'
import { sqlState } from './database-errors.ts'
import { transact } from './database-transact.ts'
import { IndexerError } from './errors.ts'
import { describePlace } from './process-place.ts'
import { livingPlaces } from './processes.ts'
import {
  type AppliedTable,
  createSchemaChanges,
  isOtherConfig,
  recordWork,
  refuseReusedNames,
  workFor,
} from './schema-changes.ts'
import { distributeTables } from './schema-citus.ts'
import { functionStatements } from './schema-functions.ts'
import { grantsOn } from './schema-grants.ts'
import { refuseDropped, refuseTakenNames } from './schema-names.ts'
import {
  columnDefinition,
  createTableStatement,
  createViewStatement,
  lookupFunctions,
  quoteName,
  stateViewStatements,
  tableName,
} from './schema-sql.ts'

export { copyColumns, tableName } from './schema-sql.ts'

/** What one run changed. Repos that have to be fetched again for it are in `schema_changes`: see outdate.ts. */
export interface SchemaChange {
  /** Tables that were made, or are wanted again. */
  created: string[]
  /** Tables whose columns, or the way they are filled, changed. */
  changed: string[]
  /** Tables that the config no longer names: they stay as they are, and are not kept up to date. */
  removed: string[]
}

/**
 * Throws `SchemaInUse` when a view must change that something of the user's depends on, `BadConfig` for a table name that is
 * another collection's, `DatabaseBusy` when the config has changed and a process works with the one before.
 */
export async function applySchema(
  database: { pool: Pool; schema: string },
  { config, citus = false }: { config: Config; citus?: boolean },
): Promise<SchemaChange> {
  const { pool, schema } = database
  return transact(pool, (client) => applySchemaIn(client, { schema, config, citus }))
}

export interface ApplyOptions {
  schema: string
  config: Config
  /** Collection tables are distributed by repo over a Citus cluster. */
  citus?: boolean
  /** Other tables, filled for this config, have taken the place of those that the views were made over. */
  replaced?: boolean
}

/** `applySchema` as a part of the caller's transaction. */
export async function applySchemaIn(
  client: PoolClient,
  { schema, config, citus = false, replaced = false }: ApplyOptions,
): Promise<SchemaChange> {
  const applied = await (replaced ? openBooks(client, schema) : openBooksFor(client, schema, config))
  if (!replaced && isOtherConfig(config, applied)) await checkNobodyWorks(client)
  for (const statement of functionStatements(schema)) await client.query(statement)
  for (const view of stateViewStatements(schema)) await makeStateView(client, schema, { ...view, replaced })
  const change: SchemaChange = { created: [], changed: [], removed: [] }
  const grants: string[] = []
  for (const table of config.tables)
    await applyTable({ client, schema, config, replaced, change, applied, grants }, table)
  for (const grant of grants) await client.query(grant)
  if (citus) await distributeTables(client, { config, schema })
  for (const [name, { removed }] of applied) {
    if (removed || config.tables.some((table) => table.name === name)) continue
    await client.query(`update ${schema}.collections set removed_at = now() where name = $1`, [name])
    change.removed.push(name)
  }
  return change
}

/** Repos that others write with the config before would be done without what this one wants. */
async function checkNobodyWorks(client: PoolClient): Promise<void> {
  const [place] = await livingPlaces(client)
  if (place === undefined) return
  const message = `another process works on this database with another config (${describePlace(place)}): stop it, then start again`
  throw new IndexerError('DatabaseBusy', message, { details: { place } })
}

/** For a process that has registered: from now on nobody changes the config, so one look is enough. Throws `DatabaseBusy`. */
export async function confirmSchema(database: { pool: Pool; schema: string }, config: Config): Promise<void> {
  const applied = await lookIntoBooks(database)
  if (!isOtherConfig(config, applied)) return
  throw new IndexerError('DatabaseBusy', 'another process has started meanwhile with another config: start again')
}

/**
 * For verbs that work on what a run has made: a config that stores something else, or leaves tables out, is not theirs to apply. Throws
 * `BadConfig`.
 */
export async function refuseOtherTables(database: { pool: Pool; schema: string }, config: Config): Promise<void> {
  const applied = await lookIntoBooks(database)
  if (applied.size === 0) return
  const kept = [...applied.values()].filter(({ removed }) => !removed).map(({ name }) => name)
  const other = [
    ...config.tables.filter((table) => !kept.includes(table.name) || workFor(table, config, applied).length > 0),
    ...[...applied.values()].filter(
      ({ name }) => kept.includes(name) && !config.tables.some((one) => one.name === name),
    ),
  ]
  if (other.length === 0) return
  const names = other.map(({ name }) => name).join(', ')
  const message = `this config does not store what the database does (${names}): give the --config of the run, or start \`run\` with this one`
  throw new IndexerError('BadConfig', message, { details: { tables: names } })
}

type Applied = Map<string, AppliedTable>

/** Where it is written what was applied; whoever has opened them is alone with them until the transaction ends. */
async function openBooks(client: PoolClient, schema: string): Promise<Applied> {
  await client.query('select pg_advisory_xact_lock($1)', [schemaLock])
  await client.query(createCollections(schema))
  await client.query(createSchemaChanges(schema))
  return await readApplied(client, schema)
}

/** To apply `config`. Throws `BadConfig` for a name that is another collection's, or somebody else's, or whose table was dropped. */
export async function openBooksFor(client: PoolClient, schema: string, config: Config): Promise<Applied> {
  const applied = await openBooks(client, schema)
  refuseReusedNames(config, applied)
  for (const table of config.tables) {
    if (applied.has(table.name)) await refuseDropped(client, schema, table)
    else await refuseTakenNames(client, schema, table)
  }
  return applied
}

async function lookIntoBooks({ pool, schema }: { pool: Pool; schema: string }): Promise<Applied> {
  return await transact(pool, (client) => openBooks(client, schema))
}

interface Applying {
  client: PoolClient
  schema: string
  config: Config
  replaced: boolean
  change: SchemaChange
  applied: ReadonlyMap<string, AppliedTable>
  /** For views that are made anew under their names. */
  grants: string[]
}

async function applyTable(applying: Applying, table: Table): Promise<void> {
  const { client, schema, config, replaced, change, applied } = applying
  const before = applied.get(table.name)
  let isViewGone = false
  if (replaced) {
    // It is there, with the columns of this config.
  } else if (before === undefined) await client.query(createTableStatement(schema, table))
  else if (before.version !== table.version) isViewGone = await alterTable(applying, table, before)
  if (before === undefined || before.removed) change.created.push(table.name)
  else if (before.version !== table.version) change.changed.push(table.name)
  await makeView(applying, table, isViewGone)
  if (!replaced) await recordWork(client, schema, workFor(table, config, applied))
  await record(client, schema, table)
}

const schemaLock = 7_346_113 // any number: processes that start together take turns

function createCollections(schema: string): string {
  return `create table if not exists ${schema}.collections (
  name text collate "C" primary key,          -- the view
  rows_name text collate "C" not null,        -- the table below it
  collections text[] not null,                -- NSIDs or patterns
  version int not null,                       -- Table.version of the config that was applied last
  projector int not null default 0,           -- projectorVersion at that time
  columns jsonb not null,                     -- Table.columns of that config
  view text not null,                         -- the statement that made the view
  removed_at timestamptz,                     -- since when no config names it
  applied_at timestamptz not null default now()
)`
}

/** The tables that were applied last, by name. */
export async function readApplied(
  client: Pick<PoolClient, 'query'>,
  schema: string,
): Promise<Map<string, AppliedTable>> {
  const { rows } = await client.query<AppliedTable>(
    `select name, rows_name as "rowsName", collections, version,
      coalesce((to_jsonb(c) ->> 'projector')::int, 0) as projector, columns, view, removed_at is not null as removed from ${schema}.collections c`,
  )
  return new Map(rows.map((row) => [row.name, row]))
}

async function record(client: PoolClient, schema: string, table: Table): Promise<void> {
  const { name, rowsName, collections, version, columns } = table
  await client.query(
    `insert into ${schema}.collections (name, rows_name, collections, version, columns, view, projector) values ($1, $2, $3, $4, $5, $6, $7)
    on conflict (name) do update set collections = excluded.collections, version = excluded.version, projector = excluded.projector,
      columns = excluded.columns, view = excluded.view, removed_at = null, applied_at = now()
    where (collections.collections, collections.version, collections.projector, collections.view, collections.removed_at)
      is distinct from (excluded.collections, excluded.version, excluded.projector, excluded.view, null)`,
    [name, rowsName, collections, version, JSON.stringify(columns), viewDefinition(schema, table), projectorVersion],
  )
}

/**
 * A new column is added; one of another type takes the place of its namesake, whose values could not be converted. So does one that
 * the config has not named for a while: nobody knows of which type its values are. Says whether the view had to go for it.
 */
async function alterTable(applying: Applying, table: Table, before: AppliedTable): Promise<boolean> {
  const { client, schema } = applying
  const { rows } = await client.query<{ name: string; type: string }>(
    `select attname as name, format_type(atttypid, atttypmod) as type from pg_attribute
    where attrelid = $1::regclass and attnum > 0 and not attisdropped`,
    [`${schema}.${tableName(table)}`],
  )
  const present = new Map(rows.map((row) => [row.name, row.type]))
  const changes: string[] = []
  for (const column of table.columns) {
    const old = before.columns.find((one) => one.name === column.name)
    const isOldJson = column.type === 'jsonb' && present.get(column.name) === 'jsonb' // before short forms
    const retyped = isOldJson || old?.type !== column.type
    if (present.has(column.name) && !retyped) continue
    if (present.has(column.name)) changes.push(`drop column ${quoteName(column.name)}`)
    changes.push(`add column ${columnDefinition(column)}`)
  }
  if (changes.length === 0) return false
  const drops = changes.some((one) => one.startsWith('drop'))
  if (drops) await dropView(applying, table, before)
  await client.query(`alter table ${schema}.${tableName(table)} ${changes.join(', ')}`)
  return drops
}

/** To replace a view is to wait for everybody who reads it, so one that is as it should be is left alone. */
async function makeView(applying: Applying, table: Table, isGone: boolean): Promise<void> {
  const { client, schema, replaced, applied } = applying
  const before = applied.get(table.name)
  const isSame = before?.view === viewDefinition(schema, table)
  if (isSame && !replaced && !isGone) return
  if (before !== undefined && !isSame) await dropView(applying, table, before)
  await client.query(createViewStatement(schema, table))
  for (const lookup of lookupFunctions(schema, table)) await client.query(lookup.statement)
}

/** What `collections.view` remembers: the view and the functions that return its rows. */
function viewDefinition(schema: string, table: Table): string {
  const functions = lookupFunctions(schema, table).map((lookup) => lookup.statement)
  return [createViewStatement(schema, table), ...functions].join(';\n')
}

/** Its comment remembers what it was made from. */
async function makeStateView(
  client: PoolClient,
  schema: string,
  view: { name: string; statement: string; replaced: boolean },
): Promise<void> {
  const made = `made from ${createHash('sha256').update(view.statement).digest('hex')}`
  const { rows } = await client.query<{ made: string | null }>(
    `select obj_description(to_regclass($1), 'pg_class') as made`,
    [`${schema}.${view.name}`],
  )
  if (rows[0]?.made === made && !view.replaced) return
  await client.query(view.statement)
  await client.query(`comment on view ${schema}.${view.name} is '${made}'`)
}

/** With the functions that return its rows: those of the old columns, and whatever else has its shape is the user's. */
async function dropView({ client, schema, grants }: Applying, table: Table, before: AppliedTable): Promise<void> {
  const view = `${schema}.${quoteName(table.name)}`
  grants.push(...(await grantsOn(client, view)))
  const old = { ...table, columns: before.columns }
  for (const { name } of lookupFunctions(schema, old)) await client.query(`drop function if exists ${name}`)
  await dropUnused(client, `view if exists ${view}`)
}

/** Throws `SchemaInUse` when something of the user's depends on it. */
export async function dropUnused(client: PoolClient, what: string): Promise<void> {
  try {
    await client.query(`drop ${what}`)
  } catch (cause) {
    if (sqlState(cause) !== dependentObjects) throw cause
    const message = `the ${what.replace('if exists ', '')} has to change, but something depends on it: ${detailOf(cause)}. Drop that, and start again`
    throw new IndexerError('SchemaInUse', message, { cause, details: { what } })
  }
}

const dependentObjects = '2BP01'

function detailOf(error: unknown): string {
  return error instanceof Error && 'detail' in error && typeof error.detail === 'string' ? error.detail : String(error)
}
