// How much disk do the tables take against the layout that one would write down first (did, rkey and cid as text, the same
// columns)? And the secondary indexes? `npm run bench:storage [-- --json --rows 1000000]`. Needs no quiet machine.
import { arch, cpus } from 'node:os'
import { parseArgs } from 'node:util'
import type { PoolClient } from 'pg'
import { generateRecords, makeDid, type RecordKind } from 'repo-stream/fixtures'
import { type Config, loadConfig, type Table } from '../src/config.ts'
import type { Database } from '../src/database.ts'
import { finish } from '../src/finish.ts'
import { applySchema, tableName } from '../src/schema.ts'
import { openTestDatabase } from '../src/testing-database.ts'
import { insertRepos, type TestRepo } from '../src/testing-rows.ts'

interface Result {
  case: string
  side: string
  rows: number
  bytes: number
  reps: number
}

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, rows: { type: 'string', default: '1000000' } },
})
const rowsWanted = Number(values.rows)
/** Of one kind, as an account of some age has them. */
const recordsPerRepo = 250
const reposPerBatch = 200
const kinds: RecordKind[] = ['like', 'follow', 'post']
const textTypes: ReadonlySet<string> = new Set(['cid', 'at-uri', 'did'])

const config = await loadConfig()
const results: Result[] = []
await using database = await openTestDatabase()
await applySchema(database, { config })
const { rows: versions } = await database.pool.query<{ server_version: string }>('show server_version')
for (const kind of kinds) results.push(...(await measure(kind)))
report()

async function measure(kind: RecordKind): Promise<Result[]> {
  const table = config.tables.find((one) => one.name === kind)
  if (table === undefined) throw new RangeError(`there is no table ${kind}`)
  const repos = Math.ceil(rowsWanted / recordsPerRepo)
  for (let first = 0; first < repos; first += reposPerBatch) {
    await insertRepos(database, config, makeRepos(kind, first, Math.min(repos, first + reposPerBatch)))
  }
  const client = await database.pool.connect()
  try {
    await client.query(plainTable(table))
    await client.query(`insert into plain select ${plainColumns(table).join(', ')} from "${table.name}"`)
    const ours = await sizeOf(client, tableName(table))
    const plain = await sizeOf(client, 'plain')
    const secondary = await finishOnly(database, { ...config, tables: [table] })
    await client.query(`drop table plain; truncate ${tableName(table)}`)
    const rows = repos * recordsPerRepo
    return [
      { case: kind, side: 'ours', rows, bytes: ours, reps: 1 },
      { case: kind, side: 'plain', rows, bytes: plain, reps: 1 },
      ...secondary.map(({ name, bytes }) => ({ case: kind, side: name, rows, bytes, reps: 1 })),
    ]
  } finally {
    client.release()
  }
}

function* makeRepos(kind: RecordKind, first: number, end: number): Generator<TestRepo> {
  for (let i = first; i < end; i++) {
    const did = makeDid(`${kind} ${i}`)
    const records = generateRecords({
      seed: `${kind} ${i}`,
      count: recordsPerRepo,
      did,
      mix: { [kind]: 1, profile: 0 },
    })
    yield { did, handle: `${kind}${i}.example.com`, records }
  }
}

function plainTable(table: Table): string {
  const columns = table.columns.map((column) => `"${column.name}" ${textTypes.has(column.type) ? 'text' : column.type}`)
  return `create table plain (did text, rkey text, cid text, ${columns.join(', ')}, primary key (did, rkey))`
}

function plainColumns(table: Table): string[] {
  return ['did', 'rkey', 'cid', ...table.columns.map((column) => `"${column.name}"`)]
}

/** Heap, what was moved out of it, and the index of the key. */
async function sizeOf(client: PoolClient, table: string): Promise<number> {
  const { rows } = await client.query<{ bytes: string }>('select pg_total_relation_size($1::regclass)::text as bytes', [
    table,
  ])
  return Number(rows[0]?.bytes)
}

async function finishOnly(on: Database, part: Config): Promise<{ name: string; bytes: number }[]> {
  const { built } = await finish(on, { config: part })
  for (const { name } of built) await on.pool.query(`drop index "${name}"`)
  return built
}

function report(): void {
  const ratios: Record<string, number> = {}
  for (const ours of results.filter((one) => one.side === 'ours')) {
    const plain = results.find((one) => one.case === ours.case && one.side === 'plain')
    if (plain !== undefined) ratios[`${ours.case}/plain`] = Math.round((plain.bytes / ours.bytes) * 100) / 100
  }
  const machine = {
    cpu: cpus()[0]?.model ?? arch(),
    cores: cpus().length,
    node: process.version,
    postgres: versions[0]?.server_version,
  }
  if (values.json) {
    console.log(JSON.stringify({ bench: 'storage', machine, cases: results, ratios }))
    return
  }
  for (const { case: name, side, rows, bytes } of results) {
    const plain = results.find((one) => one.case === name && one.side === 'plain')
    const share = side === 'ours' && plain !== undefined ? `  ${(bytes / plain.bytes).toFixed(3)}x of plain` : ''
    const each = (bytes / rows).toFixed(1).padStart(7)
    console.log(
      `${name.padEnd(8)} ${side.padEnd(34)} ${(bytes / 2 ** 20).toFixed(0).padStart(6)} MiB ${each} bytes/row${share}`,
    )
  }
}
