// Compares every row of a crawled database with the records that it must have come from. Output: one line for each
// difference, so that a test expects an empty list and a failure reads by itself.
import { isDeepStrictEqual } from 'node:util'
import type { Config, Table } from 'indexer/src/config.ts'
import type { TestDatabase } from 'indexer/src/testing-database.ts'
import { expectedRow, selectColumn } from './expected-values.ts'

export interface TrueRecord {
  readonly uri: string
  readonly cid: string
  /** In the JSON form of the data model. Without it only uri and cid are compared. */
  readonly value?: unknown
}

const differencesShown = 20

/** `records`: all that active accounts have. Those of collections that the config leaves out must be in no table. */
export async function compareRows(
  { pool }: Pick<TestDatabase, 'pool'>,
  config: Config,
  records: Iterable<TrueRecord>,
): Promise<string[]> {
  const byTable = new Map<Table, Map<string, TrueRecord>>(config.tables.map((table) => [table, new Map()]))
  for (const record of records) {
    const table = tableOf(record.uri.split('/')[3] ?? '', config)
    if (table) byTable.get(table)?.set(record.uri, record)
  }
  const differences: string[] = []
  for (const [table, expected] of byTable) {
    const columns = ['uri', 'cid', ...table.columns.map(selectColumn)].join(', ')
    const { rows } = await pool.query<Record<string, unknown> & { uri: string; cid: string }>(
      `select ${columns} from "${table.name}"`,
    )
    for (const row of rows) {
      const record = expected.get(row.uri)
      expected.delete(row.uri)
      if (record === undefined)
        differences.push(`${table.name}: ${row.uri} is in the table but not in its repo, or twice`)
      else differences.push(...compareRow(table, row, record))
    }
    for (const uri of expected.keys()) differences.push(`${table.name}: ${uri} is missing`)
  }
  const more = differences.length - differencesShown
  return more > 0 ? [...differences.slice(0, differencesShown), `and ${more} more`] : differences
}

function compareRow(table: Table, row: Record<string, unknown> & { cid: string }, record: TrueRecord): string[] {
  if (row.cid !== record.cid) return [`${record.uri}: cid ${row.cid}, not ${record.cid}`]
  if (record.value === undefined) return []
  const differences: string[] = []
  for (const [name, wanted] of Object.entries(expectedRow(table, record.value))) {
    if (isDeepStrictEqual(row[name], wanted)) continue
    differences.push(`${record.uri}: ${name} is ${JSON.stringify(row[name])}, not ${JSON.stringify(wanted)}`)
  }
  return differences
}

function tableOf(collection: string, { tables }: Config): Table | undefined {
  const typed = tables.find(({ generic, collections }) => !generic && collections.includes(collection))
  const matches = (pattern: string) =>
    pattern === '*' || pattern === collection || (pattern.endsWith('.*') && collection.startsWith(pattern.slice(0, -1)))
  return typed ?? tables.find(({ generic, collections }) => generic && collections.some(matches))
}
