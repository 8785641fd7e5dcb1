// An index that came later than its rows: values that it cannot hold go where the projection would have put them, to `oddities`.
// Input: an index that Postgres would not build for an entry too long; output: null in their place, elements of lists among them.
import type { PoolClient } from 'pg'
import type { Column, ColumnType, Config } from './config.ts'
import { CounterChanges, counterWriter } from './counters.ts'
import type { OddityCode } from './project/oddity.ts'
import type { IndexStatement } from './schema-indexes.ts'
import { quoteName, wholeValue } from './schema-sql.ts'

export async function shortenFor(
  client: PoolClient,
  { schema, config, index }: { schema: string; config: Config; index: IndexStatement },
): Promise<void> {
  const table = config.tables.find((one) => one.rowsName === index.rowsName)
  if (table === undefined || table.generic) return
  for (const column of table.columns) {
    const form = forms[column.type]
    if (form === undefined || !index.columns.includes(column.name)) continue
    const values = [column.maxBytes, table.collections[0], column.name, 'TextTooLongForIndex' satisfies OddityCode]
    await client.query('begin')
    const { rowCount } = await client.query(shorten(schema, { rowsName: index.rowsName, column, form }), values)
    const changes = new CounterChanges()
    changes.add('oddities', rowCount ?? 0)
    await changes.write(client, counterWriter(0, 0))
    await client.query('commit')
  }
}

interface Form {
  /** One value as CBOR: a head with four bytes of length, then its bytes. */
  cbor: (value: string) => string
  isList: boolean
}

const text = (value: string) => `'\\x7a'::bytea || int4send(octet_length(${value})) || convert_to(${value}, 'UTF8')`
const bytes = (value: string) => `'\\x5a'::bytea || int4send(octet_length(${value})) || ${value}`

/** Of the types that can be too long. */
const forms: Readonly<Partial<Record<ColumnType, Form>>> = {
  text: { cbor: text, isList: false },
  'at-uri': { cbor: text, isList: false },
  did: { cbor: text, isList: false },
  bytea: { cbor: bytes, isList: false },
  'text[]': { cbor: text, isList: true },
  'bytea[]': { cbor: bytes, isList: true },
}

/** $1: the most bytes; $2 to $4: collection, column and code of the oddity. */
function shorten(schema: string, { rowsName, column, form }: { rowsName: string; column: Column; form: Form }): string {
  const name = quoteName(column.name)
  const value = wholeValue(schema, column, '')
  const elements = `unnest(${value}) with ordinality as u (element, place)`
  const isLong = form.isList
    ? `exists (select from ${elements} where octet_length(element) > $1)`
    : `octet_length(${value}) > $1`
  const left = form.isList
    ? `(select array_agg(case when octet_length(element) <= $1 then element end order by place) from unnest(l.original) with ordinality as u (element, place))`
    : 'null'
  const original = form.isList
    ? `'\\x9a'::bytea || int4send(cardinality(original))
      || (select string_agg(coalesce(${form.cbor('element')}, '\\xf6'), ''::bytea order by place) from unnest(original) with ordinality as u (element, place))`
    : form.cbor('original')
  return `
  with long as (
    select repo, rkey, ${value} as original from ${schema}.${quoteName(rowsName)} where ${isLong} for update
  ), shortened as (
    update ${schema}.${quoteName(rowsName)} t set ${name} = ${left} from long l where t.repo = l.repo and t.rkey = l.rkey
  )
  insert into ${schema}.oddity_rows (repo, collection, rkey, field, code, original)
  select repo, $2, rkey, $3, $4, ${original} from long
  on conflict do nothing`
}
