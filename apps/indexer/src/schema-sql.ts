// The SQL of a config's tables, views and lookup functions, as text. Pure; schema.ts runs it, `tables --sql` prints it.
import type { Column, ColumnType, Table } from './config.ts'

/** The rows of a table as COPY wants them named: key, cid, then the columns in the order of a projected row's fields. */
export function copyColumns(table: Table): string {
  return `(${[...keyColumns(table), 'cid', ...table.columns.map((column) => quoteName(column.name))].join(', ')})`
}

/** The quoted name of the table that holds the rows. */
export function tableName(table: Table): string {
  return quoteName(table.rowsName)
}

/**
 * While a table is first filled nobody asks what statistics would help with, and autovacuum, which looks every few seconds, would take
 * a tenth of Postgres' time for them (bench:pipeline), so they wait for ten million rows. It would also vacuum rows that have left the
 * buffers: read, marked, logged and written a second time beside the load (bench:size). `finish` does that once, and ends this.
 */
export const loadSettings = {
  autovacuum_analyze_threshold: '10000000',
  autovacuum_vacuum_insert_threshold: '-1',
}

/** Fixed widths come first and 8 bytes before 1, so that nothing is padded; key text is `collate "C"`, as an ICU key costs 1.8x. */
export function createTableStatement(schema: string, table: Table): string {
  const fixed = table.columns.filter((column) => width(column) > 0).sort((a, b) => width(b) - width(a))
  const others = table.columns.filter((column) => width(column) === 0)
  const lines = [
    'repo int8 not null',
    ...fixed.map(columnDefinition),
    ...(table.generic ? ['collection text collate "C" not null'] : []),
    'rkey text collate "C" not null',
    'cid bytea not null',
    ...others.map(columnDefinition),
    `primary key (${keyColumns(table).join(', ')})`,
  ]
  const settings = Object.entries(loadSettings).map(([name, value]) => `${name} = ${value}`)
  return `create table ${schema}.${tableName(table)} (\n  ${lines.join(',\n  ')}\n) with (${settings.join(', ')})`
}

export function columnDefinition(column: Column): string {
  return `${quoteName(column.name)} ${columnSqlType(column.type)}`
}

/** Text is compared byte by byte: equality is all that DIDs, URIs and languages need, and it is what indexes are fast at. */
function columnSqlType(type: ColumnType): string {
  if (type === 'cid') return 'bytea'
  if (type === 'cid[]') return 'bytea[]'
  return type === 'at-uri' || type === 'did' || type === 'jsonb' ? 'text collate "C"' : type
}

/** How a stored value is shown and indexed (project/short-forms.ts): an expression, or the column itself. */
export function wholeValue(schema: string, column: Column, from = 't.'): string {
  const stored = `${from}${quoteName(column.name)}`
  const functions: Partial<Record<ColumnType, string>> = {
    'at-uri': 'at_uri_text',
    did: 'did_text',
    jsonb: 'whole_jsonb',
  }
  const name = functions[column.type]
  return name === undefined ? stored : `${schema}.${name}(${stored})`
}

/** Leans on the primary keys of `repos` and `hidden_repos`; without `did` or `uri` asked for, Postgres drops the join. */
export function createViewStatement(schema: string, table: Table): string {
  return `create or replace view ${schema}.${quoteName(table.name)} as\n${selectRows(schema, table)}`
}

/** The functions by which rows are found by AT-URI and by CID, each in the view's shape. */
export function lookupFunctions(schema: string, table: Table): { name: string; statement: string }[] {
  const uri = { name: `${table.name}_by_uri`, argument: 'uri', where: byUri(table) }
  const own = { name: `${table.name}_by_cid`, argument: 'cid', where: `t.cid = ${schema}.cid_bytes($1)` }
  const others = table.columns
    .filter((column) => column.type === 'cid')
    .map((column) => ({
      name: `${table.name}_by_${column.name}`,
      argument: 'cid',
      where: `t.${quoteName(column.name)} = ${schema}.cid_bytes($1)`,
    }))
  return [uri, own, ...others].map(({ name, argument, where }) => ({
    name: `${schema}.${quoteName(fitName(name))}(text)`,
    statement: `create or replace function ${schema}.${quoteName(fitName(name))}(${argument} text)
returns setof ${schema}.${quoteName(table.name)} language sql stable parallel safe as $$
${selectRows(schema, table)}
  and ${where}
$$`,
  }))
}

/**
 * The URI is taken apart, so that this leans on the unique `repos.did` and on the primary key: through the view's `uri`, an
 * expression, every row would be looked at (874 ms of 2 million).
 */
function byUri(table: Table): string {
  const collection = table.generic
    ? `t.collection = split_part($1, '/', 4)`
    : `split_part($1, '/', 4) = ${quoteText(table.collections[0] ?? '')}`
  return `r.did = split_part($1, '/', 3) and ${collection} and t.rkey = split_part($1, '/', 5)
  and starts_with($1, 'at://') and split_part($1, '/', 6) = ''`
}

function selectRows(schema: string, table: Table): string {
  const collection = table.generic ? 't.collection' : quoteText(table.collections[0] ?? '')
  const created = table.columns.find((column) => column.name === 'created_at' && column.type === 'timestamptz')
  const times = [...(created ? ['t.created_at'] : []), `${schema}.tid_time(t.rkey)`, 'r.indexed_at']
  const lines = [
    'r.did',
    ...(table.generic ? ['t.collection'] : []),
    't.rkey',
    `'at://' || r.did || '/' || ${collection} || '/' || t.rkey as uri`,
    `${schema}.cid_text(t.cid) as cid`,
    ...table.columns.map((column) => viewColumn(schema, column)),
    `least(${times.join(', ')}) as sort_at`,
  ]
  return `select
  ${lines.join(',\n  ')}
from ${schema}.${tableName(table)} t
left join ${schema}.repos r on r.id = t.repo
where not exists (select from ${schema}.hidden_repos h where h.repo = t.repo)`
}

/** Views on the crawl's own state. */
export function stateViewStatements(schema: string): { name: string; statement: string }[] {
  const uri = `'at://' || r.did || '/' || t.collection || '/' || t.rkey as uri`
  return [
    {
      name: 'accounts',
      statement: `create or replace view ${schema}.accounts as
select r.did, r.handle, h.origin as pds, r.state::text as state, coalesce(r.status, 'active') as status,
  r.rev, r.records, r.rejected, r.indexed_at, r.error_code, r.error_message
from ${schema}.repos r
left join ${schema}.hosts h on h.id = r.host_id`,
    },
    {
      name: 'rejects',
      statement: `create or replace view ${schema}.rejects as
select r.did, ${uri}, t.collection, t.rkey, ${schema}.cid_text(t.cid) as cid,
  t.code, t.message, t.bytes, t.rejected_at
from ${schema}.reject_rows t
left join ${schema}.repos r on r.id = t.repo`,
    },
    {
      name: 'oddities',
      statement: `create or replace view ${schema}.oddities as
select r.did, 'at://' || r.did || case when t.collection <> '' then '/' || t.collection || '/' || t.rkey else '' end as uri,
  t.collection, t.rkey, t.field, t.code, t.original
from ${schema}.oddity_rows t
left join ${schema}.repos r on r.id = t.repo`,
    },
  ]
}

export function quoteName(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

/** At most 63 bytes, where Postgres would cut in silence; a long name keeps its beginning and gets a number made from the rest. */
export function fitName(name: string): string {
  if (name.length <= 63) return name
  let hash = 7
  for (const letter of name) hash = (hash * 31 + letter.charCodeAt(0)) % 1_000_003
  return `${name.slice(0, 52)}_${hash}`
}

export function quoteText(text: string): string {
  return `'${text.replaceAll("'", "''")}'`
}

function keyColumns(table: Table): string[] {
  return table.generic ? ['repo', 'collection', 'rkey'] : ['repo', 'rkey']
}

function width(column: Column): number {
  if (column.type === 'int8' || column.type === 'timestamptz') return 8
  return column.type === 'bool' ? 1 : 0
}

function viewColumn(schema: string, column: Column): string {
  const name = quoteName(column.name)
  if (column.type === 'cid') return `${schema}.cid_text(t.${name}) as ${name}`
  if (column.type === 'cid[]') return `${schema}.cid_texts(t.${name}) as ${name}`
  return `${wholeValue(schema, column)} as ${name}`
}
