// For tests of what is written: a migrated database with two tables, claimed repos, and finished ones with rows made by hand.
import { resolveConfig } from './config-resolve.ts'
import { RowBuffer } from './copy.ts'
import { applySchema } from './schema.ts'
import { type ClaimedRepo, openState, type State } from './state.ts'
import { appendTestRow } from './testing-append.ts'
import { openTestDatabase, type TestDatabase } from './testing-database.ts'
import type { FinishedRepo, RowChunk, TableRows } from './write.ts'

export const testConfig = await resolveConfig({
  collections: {
    'test.app.note': { columns: { text: 'text' } },
    'test.app.like': { columns: { subject: 'text' } },
    'test.other.*': 'json',
  },
})

export const revs = ['3kaaaaaaaaa22', '3kbbbbbbbbb22', '3kccccccccc22'] as const

export interface TestCrawl extends AsyncDisposable {
  database: TestDatabase
  state: State
  claims: ClaimedRepo[]
  hostId: number
}

/** `repos` repos of one host, discovered and claimed. */
export async function openTestCrawl(repos: number): Promise<TestCrawl> {
  const database = await openTestDatabase()
  await applySchema(database, { config: testConfig })
  const state = await openState(database)
  await state.readSource('test')
  const listed = Array.from({ length: repos }, (_, index) => ({
    did: `did:plc:test${String(index).padStart(6, '0')}`,
    active: true,
  }))
  await state.commitPage({ source: 'test', cursor: undefined, repos: listed, finished: true, host: 'https://pds.test' })
  const hostId = (await state.hostsWithWork())[0]?.hostId ?? 0
  const claims = await state.claimRepos(hostId, repos)
  const dispose = async () => {
    await state.end()
    await database.close()
  }
  return { database, state, claims, hostId, [Symbol.asyncDispose]: dispose }
}

export interface TestRecord {
  collection: string
  rkey: string
  text: string
}

/** `notes` notes, a like and another record; `text` may be something that Postgres refuses. */
export function finish(
  claim: ClaimedRepo,
  { rev = revs[0], records }: { rev?: string; records: readonly TestRecord[] },
): FinishedRepo {
  const tables = encode(claim.id, records)
  const bytes = [...tables.values()].flatMap((table) => table.bytes).reduce((sum, buffer) => sum + buffer.length, 0)
  const head = Buffer.alloc(36, rev)
  return { claim, rev, head, tables, rejects: [], oddities: [], skipped: new Map(), rows: records.length, bytes }
}

export function notes(count: number, prefix = 'note'): TestRecord[] {
  return Array.from({ length: count }, (_, index) => ({
    collection: 'test.app.note',
    rkey: String(index).padStart(8, '0'),
    text: `${prefix} ${index}`,
  }))
}

export function encode(repo: number, records: readonly TestRecord[]): Map<number, TableRows> {
  const buffers = new Map<number, RowBuffer>()
  for (const { collection, rkey, text } of records) {
    const table =
      testConfig.tables.find((table) => table.collections.includes(collection)) ??
      testConfig.tables.find((table) => table.generic)
    if (table === undefined) throw new Error(`no table for ${collection}`)
    const buffer = buffers.get(table.index) ?? new RowBuffer(table)
    buffers.set(table.index, buffer)
    const fields = fieldOf(text, table.generic)
    appendTestRow(buffer, repo, { collection, rkey, digest: digestOf(text), fields })
  }
  return new Map([...buffers].map(([index, buffer]) => [index, { rows: buffer.rows, bytes: buffer.take() }]))
}

/** A hundred records at a time, as a walk gives them. */
export async function* chunksOf(repo: number, records: readonly TestRecord[]): AsyncGenerator<RowChunk> {
  for (let start = 0; start < records.length; start += 100) {
    for (const [table, rows] of encode(repo, records.slice(start, start + 100))) yield { table, ...rows }
  }
}

function digestOf(text: string): Uint8Array {
  return Buffer.alloc(32, text === '' ? ' ' : text)
}

function fieldOf(text: string, generic: boolean): Buffer {
  const value = Buffer.from(generic ? JSON.stringify({ text }) : text)
  const field = Buffer.alloc(4 + value.length)
  field.writeInt32BE(value.length)
  value.copy(field, 4)
  return field
}

/** Every row of the three tables as `did collection-or-table/rkey text`, sorted. */
export async function storedRows({ pool }: TestDatabase): Promise<string[]> {
  const { rows } = await pool.query<{ line: string }>(`
    select did || ' note/' || t.rkey || ' ' || t.text as line from note_rows t join repos r on r.id = t.repo
    union all select did || ' like/' || t.rkey || ' ' || t.subject from like_rows t join repos r on r.id = t.repo
    union all select did || ' ' || t.collection || '/' || t.rkey || ' ' || (whole_jsonb(t.record) ->> 'text') from records_rows t join repos r on r.id = t.repo
    order by 1`)
  return rows.map(({ line }) => line)
}

/** What the counters say that count(*) does not: nothing, always. */
export async function counterErrors({ pool }: TestDatabase): Promise<unknown[]> {
  const { rows } = await pool.query(`
    with counted (name, value) as (
      select 'rows/note', count(*) from note_rows
      union all select 'rows/like', count(*) from like_rows
      union all select 'rows/records', count(*) from records_rows
      union all select 'rejected', count(*) from reject_rows
      union all select 'oddities', count(*) from oddity_rows
      union all select 'discovered', count(*) from repos
      union all select 'repos/' || state, count(*) from repos group by state
      union all select 'skipped/' || key, sum(value::bigint) from repos, jsonb_each_text(skipped) group by key
    ), summed as (select name, sum(value) as value from counters where name <> 'bytes' group by name)
    select name, counted.value as counted, summed.value as summed from counted full join summed using (name)
    where coalesce(counted.value, 0) <> coalesce(summed.value, 0)
    union all
    select 'repos.records ' || id, records, (select count(*) from note_rows where repo = id) + (select count(*) from like_rows where repo = id)
      + (select count(*) from records_rows where repo = id) from repos
    where records <> (select count(*) from note_rows where repo = id) + (select count(*) from like_rows where repo = id)
      + (select count(*) from records_rows where repo = id)`)
  return rows
}
