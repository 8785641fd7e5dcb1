// The secondary indexes of a config as data and as SQL. They are built after the load, by finish.ts: an index on random URIs
// costs 2.4x during it.
import type { Config, Table, TableIndex } from './config.ts'
import { isShort, wholeExpression } from './schema-functions.ts'
import { quoteName, tableName } from './schema-sql.ts'

export interface IndexStatement {
  /** The table below the view. */
  rowsName: string
  name: string
  columns: readonly string[]
  /** What is indexed is not what rows hold. */
  isExpression: boolean
  /** `create index concurrently`: it cannot run inside a transaction. */
  statement: string
}

export function indexStatements(config: Config, schema: string): IndexStatement[] {
  return config.tables.flatMap((table) =>
    table.indexes.map((index) => ({
      rowsName: table.rowsName,
      name: index.name,
      columns: index.columns,
      isExpression: index.columns.some((name) => indexedValue(table, name) !== quoteName(name)),
      statement: createIndex(schema, table, index),
    })),
  )
}

/**
 * Nulls are left out where nobody looks for them: most posts are no replies. Times are also sorted by, so theirs are all in.
 * What is indexed is the value that views show: theirs is the expression that conditions are on. Without a call of our functions,
 * or a table could not be moved away from the schema that has them.
 */
function createIndex(schema: string, table: Table, index: TableIndex): string {
  const columns = index.columns.map((name) => indexedValue(table, name)).join(', ')
  const [only] = index.columns.length === 1 ? index.columns : []
  const isTime = table.columns.some((column) => column.name === only && column.type === 'timestamptz')
  const notNull = only === undefined || isTime ? '' : ` where ${columns} is not null`
  return `create index concurrently ${quoteName(index.name)} on ${schema}.${tableName(table)} using ${index.using} (${columns})${notNull}`
}

function indexedValue(table: Table, name: string): string {
  const type = table.columns.find((column) => column.name === name)?.type
  return type !== undefined && isShort(type) ? `(${wholeExpression(type, quoteName(name))})` : quoteName(name)
}
