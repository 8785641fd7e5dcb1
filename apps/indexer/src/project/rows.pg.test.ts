import { base32 } from 'multiformats/bases/base32'
import { createRandom, encodeRecord, tidFromMicros } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import type { Table } from '../config.ts'
import { fromLexicons } from '../config.ts'
import { resolveConfig } from '../config-resolve.ts'
import { copyIn, RowBuffer } from '../copy.ts'
import { applySchema, copyColumns, tableName } from '../schema.ts'
import { appendTestRow } from '../testing-append.ts'
import { openTestDatabase, type TestDatabase } from '../testing-database.ts'
import { randomRecord, recordTypes } from './testing-records.ts'
import { createTestProjection } from './testing-settle.ts'
import { type Plain, readFields } from './testing-slow-way.ts'

const seed = process.env.SEED ?? String(Date.now())
console.log(`SEED=${seed}`)

interface Loaded {
  rkey: string
  values: Plain[]
}

test('Postgres takes every row of odd records, and gives back the values that the projector wrote', async () => {
  await using database = await openTestDatabase()
  const lexicons = fromLexicons(['app.bsky.*', 'chat.bsky.*', 'com.germnetwork.*'])
  const config = await resolveConfig({ collections: [lexicons, { '*': 'json' }] })
  await applySchema(database, { config })
  const rows = await load(database, createTestProjection(config))
  expect(rows.size).toBe(config.tables.length)
  for (const [table, loaded] of rows) {
    const columns = table.columns.map((column) => sqlOf(column.name, column.type)).join(', ')
    const { rows: found } = await database.pool.query<Record<string, unknown>>(
      `select rkey, ${columns} from "${table.name}" order by rkey`,
    )
    expect(found.length).toBe(loaded.length)
    for (const [i, row] of found.entries()) {
      const expected = loaded[i]
      expect(row.rkey).toBe(expected?.rkey)
      for (const [j, column] of table.columns.entries()) {
        expect(row[column.name], `${table.name}.${column.name}`).toEqual(
          expectedOf(expected?.values[j] ?? null, column.type),
        )
      }
    }
  }
})

async function load(
  database: TestDatabase,
  projection: ReturnType<typeof createTestProjection>,
): Promise<Map<Table, Loaded[]>> {
  const random = createRandom(seed)
  const buffers = new Map<Table, RowBuffer>()
  const rows = new Map<Table, Loaded[]>()
  for (let i = 0; i < 6_000; i++) {
    const type = random.pick(recordTypes)
    const block = Uint8Array.from(encodeRecord(randomRecord(type, random, 0.2)))
    const { table, fields } = projection.settleAs(type, block)
    if (table === undefined || fields === undefined) throw new Error(Buffer.from(block).toString('hex'))
    const buffer = buffers.get(table) ?? new RowBuffer(table)
    buffers.set(table, buffer)
    const rkey = tidFromMicros(1_700_000_000_000_000 + i, 1)
    appendTestRow(buffer, 1, { collection: type, rkey, digest: new Uint8Array(32), fields })
    rows.set(table, [...(rows.get(table) ?? []), { rkey, values: readFields(table, fields) }])
  }
  const client = await database.pool.connect()
  try {
    for (const [table, buffer] of buffers) {
      await copyIn(client, `copy ${tableName(table)} ${copyColumns(table)} from stdin (format binary)`, buffer.take())
    }
  } finally {
    client.release()
  }
  return rows
}

/** What can be compared exactly: times as microseconds, integers and jsonb as text. */
function sqlOf(name: string, type: string): string {
  if (type === 'timestamptz')
    return `(extract(epoch from "${name}" - '2000-01-01Z') * 1000000)::int8::text as "${name}"`
  if (type === 'int8' || type === 'jsonb') return `"${name}"::text as "${name}"`
  if (type === 'bytea') return `encode("${name}", 'hex') as "${name}"`
  return `"${name}"`
}

function expectedOf(value: Plain, type: string): unknown {
  if (typeof value === 'bigint') return String(value)
  if (type === 'cid' && typeof value === 'string') return base32.encode(Buffer.from(value, 'hex'))
  if (type === 'jsonb' && typeof value === 'string') return expect.toSatisfy((text: string) => sameJson(text, value))
  if (Array.isArray(value) && type === 'bytea[]')
    return value.map((item) => (typeof item === 'string' ? Buffer.from(item, 'hex') : item))
  return value
}

/** jsonb orders keys and writes numbers its own way; numbers are compared as the text of what they are. */
function sameJson(text: string, wrote: string): boolean {
  expect(parseExact(text)).toEqual(parseExact(wrote))
  return true
}

function parseExact(text: string): unknown {
  return JSON.parse(text, (_key, value: unknown, context?: { source?: string }) => {
    if (typeof value !== 'number' || context?.source === undefined) return value
    return /^-?\d{1,20}$/.test(context.source) ? BigInt(context.source) : value
  })
}
