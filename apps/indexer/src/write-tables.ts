// The collection tables as the writer uses them, and what every write needs.
import type { Config, Table } from './config.ts'
import type { Database } from './database.ts'
import { copyColumns, tableName } from './schema.ts'

export interface WriteTable {
  table: Table
  /** Quoted. */
  name: string
  copy: string
}

export interface WriteContext {
  database: Database
  config: Config
  /** By `Table.index`. */
  tables: ReadonlyMap<number, WriteTable>
  process: () => number
}

/** With the role that chooses this connection's rows of `counters`. */
export interface RoleContext extends WriteContext {
  role: number
}

export function prepareTables(config: Config): Map<number, WriteTable> {
  return new Map(
    config.tables.map((table) => {
      const name = tableName(table)
      return [table.index, { table, name, copy: `copy ${name} ${copyColumns(table)} from stdin (format binary)` }]
    }),
  )
}

export function tableOf({ tables }: WriteContext, index: number): WriteTable {
  const table = tables.get(index)
  if (table === undefined) throw new Error(`rows for table ${index}, which the config does not have`)
  return table
}
