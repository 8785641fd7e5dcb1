// What a config makes of the network, for people: its tables as text, or as the SQL that makes them. Pure.
import type { Column, Config, Table } from './config.ts'
import { functionStatements } from './schema-functions.ts'
import { indexStatements } from './schema-indexes.ts'
import { createTableStatement, createViewStatement, lookupFunctions, stateViewStatements } from './schema-sql.ts'

/** A block of lines for each table: its collections, its columns with their type and where each comes from, its indexes. */
export function describeTables(config: Config): string {
  return `${config.tables.map(describeTable).join('\n\n')}\n`
}

/** Statements, each with a semicolon, that a database with the crawl's own tables (migrations/) needs for this config. */
export function schemaSql(config: Config, schema: string): string {
  const statements = [
    ...functionStatements(schema),
    ...stateViewStatements(schema).map((view) => view.statement),
    ...config.tables.flatMap((table) => [
      createTableStatement(schema, table),
      createViewStatement(schema, table),
      ...lookupFunctions(schema, table).map((lookup) => lookup.statement),
    ]),
    ...indexStatements(config, schema).map((index) => index.statement),
  ]
  return `${statements.join(';\n\n')};\n`
}

function describeTable(table: Table): string {
  const title = `${table.name}  (${table.collections.join(', ')})`
  const key = table.generic ? 'did, collection, rkey, uri, cid, sort_at' : 'did, rkey, uri, cid, sort_at'
  const width = Math.max(0, ...table.columns.map((column) => column.name.length))
  const typeWidth = Math.max(0, ...table.columns.map((column) => typeName(column).length))
  const columns = table.columns.map((column) => {
    const limit = column.maxBytes < longText && isText(column) ? `, at most ${column.maxBytes} bytes` : ''
    return `  ${column.name.padEnd(width)}  ${typeName(column).padEnd(typeWidth)}  ${describePaths(column)}${limit}`
  })
  const indexes = table.indexes.map((index) => `  index ${index.using} (${index.columns.join(', ')})`)
  return [title, `  ${key}`, ...columns, ...indexes].join('\n')
}

const longText = 100_000

/** As views show it: rows hold some types in another form. */
function typeName({ type }: Column): string {
  return type === 'at-uri' || type === 'did' || type === 'cid' ? `text (${type})` : type
}

function isText(column: Column): boolean {
  return column.type === 'text' || column.type === 'at-uri' || column.type === 'did' || column.type === 'text[]'
}

function describePaths(column: Column): string {
  const parts = { cid: '.ref', mime: '.mimeType', size: '.size' }
  const part = column.part === undefined ? '' : parts[column.part]
  return column.paths.map((path) => (path.length === 0 ? 'the whole record' : path.join('.') + part)).join(' or ')
}
