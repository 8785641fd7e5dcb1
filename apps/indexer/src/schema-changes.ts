// What a change of the config asks of repos that are stored already: the table as it was and as it is now in, work out.
// The work is a row of `schema_changes`, written in the transaction that alters the table; outdate.ts does it in steps.
import type { ClientBase } from 'pg'
import type { Column, Config, Table } from './config.ts'
import { projectorVersion } from './config-resolve.ts'
import { IndexerError } from './errors.ts'
import { createTableFinder } from './project/tables.ts'

/** Repos are concerned that left out records of these collections, have them in the generic table, or have rows in these tables. */
export interface SchemaWork {
  table: string
  /** Goes to `repos.stale_reason`. */
  reason: 'missing-collection' | 'missing-column'
  patterns: readonly string[]
  rowTables: readonly string[]
}

/** A table as it was applied last. */
export interface AppliedTable {
  name: string
  rowsName: string
  collections: readonly string[]
  version: number
  /** `projectorVersion` when it was applied. */
  projector: number
  columns: readonly Column[]
  /** The statement that made the view. */
  view: string
  /** The config has not named it for a while: what came in meanwhile is not in it. */
  removed: boolean
}

export function workFor(table: Table, config: Config, applied: ReadonlyMap<string, AppliedTable>): SchemaWork[] {
  const before = applied.get(table.name)
  const isNew = before === undefined || before.removed
  const patterns = table.collections.filter((pattern) => isNew || !before.collections.includes(pattern))
  const rowTables = formerTables(table, config, applied)
    .filter((other) => (other === before ? isNew : patterns.length > 0 || !other.removed))
    .map((other) => other.rowsName)
  const work: SchemaWork[] = []
  if (patterns.length > 0 || rowTables.length > 0) {
    work.push({ table: table.name, reason: 'missing-collection', patterns, rowTables })
  }
  if (!isNew && hasNewValues(table, before)) {
    work.push({ table: table.name, reason: 'missing-column', patterns: [], rowTables: [table.rowsName] })
  }
  return work
}

/** Where records that belong to this table now have gone so far: it takes over those of a table that the config drops, too. */
function formerTables(table: Table, config: Config, applied: ReadonlyMap<string, AppliedTable>): AppliedTable[] {
  const findTable = createTableFinder(config)
  return [...applied.values()].filter((other) => other.collections.some((one) => findTable(one) === table))
}

/** The rows of a table do not say which collection they are of, so they would be shown as records of the new one. */
export function refuseReusedNames(config: Config, applied: ReadonlyMap<string, AppliedTable>): void {
  for (const { name, generic, collections } of config.tables) {
    const [before] = applied.get(name)?.collections ?? []
    const [now] = collections
    if (generic || before === undefined || before === now) continue
    throw new IndexerError(
      'BadConfig',
      `the table '${name}' holds the records of ${before}, so those of ${now} need another: give ${now} a 'table' of another name`,
    )
  }
}

/** Limits on the length of text may change with an index; that fetches nothing. */
function hasNewValues(table: Table, before: AppliedTable): boolean {
  if (before.projector !== projectorVersion) return true
  const known = before.columns.map(sourceOf)
  return !table.columns.every((column) => known.includes(sourceOf(column)))
}

function sourceOf({ name, type, paths, part }: Column): string {
  return JSON.stringify([name, type, paths, part])
}

/** Whether a config is another than the one that was applied last; false also when there was none. */
export function isOtherConfig(config: Config, applied: ReadonlyMap<string, AppliedTable>): boolean {
  if (applied.size === 0) return false
  const wanted = [...applied.values()].filter((table) => !table.removed)
  const isAsBefore = ({ name, version, collections }: Table) =>
    wanted.some(
      (one) => one.name === name && one.version === version && String(one.collections) === String(collections),
    )
  return wanted.length !== config.tables.length || !config.tables.every(isAsBefore)
}

export function createSchemaChanges(schema: string): string {
  return `create table if not exists ${schema}.schema_changes (
  id bigint generated always as identity primary key,
  table_name text not null,
  reason text not null,                         -- what repos.stale_reason will be
  patterns text[] not null,                     -- NSIDs or patterns that are wanted now
  row_tables text[] not null,                   -- repos with rows in these are concerned, too
  done_to bigint not null default 0             -- repos up to this id have been looked at
)`
}

/** Work that was recorded and not done. */
export async function readWork(client: Pick<ClientBase, 'query'>, schema: string): Promise<SchemaWork[]> {
  const text = `select table_name as "table", reason, patterns, row_tables as "rowTables" from ${schema}.schema_changes order by id`
  const { rows } = await client.query<SchemaWork>(text)
  return rows
}

export async function recordWork(client: ClientBase, schema: string, work: readonly SchemaWork[]): Promise<void> {
  for (const { table, reason, patterns, rowTables } of work) {
    const text = `insert into ${schema}.schema_changes (table_name, reason, patterns, row_tables) values ($1, $2, $3, $4)`
    await client.query(text, [table, reason, patterns, rowTables])
  }
}
