// How much disk do the tables take against the layout that one would write down first (did, rkey and cid as text, the same
// columns)? And the secondary indexes? And how much longer does a count(*) of a view take than of its table?
// `npm run bench:storage [-- --json --rows 1000000]`. Sizes need no quiet machine. The surprise: a twentieth of the rows are
// projected from records; the others are copies of these in SQL, with other accounts, times and subjects of the same length.
import { arch, cpus } from 'node:os'
import { parseArgs } from 'node:util'
import type { PoolClient } from 'pg'
import { generateRecords, makeDid, type RecordKind } from 'repo-stream/fixtures'
import { type Column, type Config, loadConfig, type Table } from '../src/config.ts'
import type { Database } from '../src/database.ts'
import { finish } from '../src/finish.ts'
import { applySchema, tableName } from '../src/schema.ts'
import { openTestDatabase } from '../src/testing-database.ts'
import { insertRepos, type TestRepo } from '../src/testing-rows.ts'
import { type CountResult, timeCounts } from './storage-counts.ts'

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
/** Of one kind, as an account of some age has them. */
const recordsPerRepo = 250
const copies = 20
const reposEach = Math.ceil(Number(values.rows) / recordsPerRepo / copies)
const rows = reposEach * recordsPerRepo * copies
const kinds: RecordKind[] = ['like', 'follow', 'post']
const textTypes: ReadonlySet<string> = new Set(['cid', 'at-uri', 'did'])

const config = await loadConfig()
const results: Result[] = []
const counts: CountResult[] = []
await using database = await openTestDatabase()
await applySchema(database, { config })
const { rows: versions } = await database.pool.query<{ server_version: string }>('show server_version')
for (const kind of kinds) await measure(kind)
report()

async function measure(kind: RecordKind): Promise<void> {
  const table = config.tables.find((one) => one.name === kind)
  if (table === undefined) throw new RangeError(`there is no table ${kind}`)
  await insertRepos(database, config, makeRepos(kind))
  const client = await database.pool.connect()
  try {
    const plain = await fillPlain(client, table)
    await copyRows(client, table)
    const add = (side: string, bytes: number) => results.push({ case: kind, side, rows, bytes, reps: 1 })
    add('ours', await sizeOf(client, tableName(table)))
    add('plain', plain)
    for (const { name, bytes } of await finishOnly(database, { ...config, tables: [table] })) add(name, bytes)
    if (kind === 'like') counts.push(...(await timeCounts(client, table)))
    await client.query(`truncate ${tableName(table)}, repos`)
  } finally {
    client.release()
  }
}

function* makeRepos(kind: RecordKind): Generator<TestRepo> {
  for (let i = 0; i < reposEach; i++) {
    const did = makeDid(`${kind} ${i}`)
    const mix = { [kind]: 1, profile: 0 }
    const records = generateRecords({ seed: `${kind} ${i}`, count: recordsPerRepo, did, mix })
    yield { did, handle: `${kind}${i}.example.com`, records }
  }
}

/** Gives the bytes of all copies in the plain layout. Accounts come in no order, as their DIDs have none. */
async function fillPlain(client: PoolClient, table: Table): Promise<number> {
  const columns = table.columns.map(({ name, type }) => `"${name}" ${textTypes.has(type) ? 'text' : type}`)
  const names = table.columns.map(({ name }) => `"${name}"`).join(', ')
  const original = `select did, rkey, cid, ${names} from "${table.name}"`
  await client.query(
    `create table plain (did text, rkey text, cid text, ${columns.join(', ')}, primary key (did, rkey))`,
  )
  await client.query(`create temporary table originals as ${original}`)
  for (let copy = 0; copy < copies; copy++) {
    const did = `'did:plc:' || substr(translate(md5(did || ${copy}), '0189', 'ghij'), 1, 24)`
    await client.query(`insert into plain select ${did}, rkey, cid, ${names} from originals`)
  }
  const bytes = await sizeOf(client, 'plain')
  await client.query('drop table plain, originals')
  return bytes
}

async function copyRows(client: PoolClient, table: Table): Promise<void> {
  const name = tableName(table)
  const names = table.columns.map((column) => `"${column.name}"`).join(', ')
  await client.query(`create temporary table originals as select * from ${name}`)
  for (let copy = 1; copy < copies; copy++) {
    const others = table.columns.map((column) => otherValue(column, copy)).join(', ')
    await client.query(
      `insert into ${name} (repo, rkey, cid, ${names}) select repo + ${copy * reposEach}, rkey, cid, ${others} from originals`,
    )
  }
  await client.query('drop table originals')
  await client.query(
    `insert into repos (did, state, rev) select 'copy ' || n, 'done', 'a' from generate_series(1, ${(copies - 1) * reposEach}) n`,
  )
}

/** So that an index holds as many different values as if nothing had been copied. */
function otherValue({ name, type }: Column, copy: number): string {
  const letters = 'abcdefghijklmnopqrstuvwxyz'
  if (type === 'timestamptz') return `"${name}" + ${copy} * interval '1.001 s'`
  if (type !== 'at-uri' && type !== 'did') return `"${name}"`
  return `translate("${name}", '${letters}', '${letters.slice(copy)}${letters.slice(0, copy)}')`
}

/** Heap, what was moved out of it, and the index of the key. */
async function sizeOf(client: PoolClient, table: string): Promise<number> {
  const text = 'select pg_total_relation_size($1::regclass)::text as bytes'
  return Number((await client.query<{ bytes: string }>(text, [table])).rows[0]?.bytes)
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
    if (plain !== undefined) ratios[`${ours.case}/plain`] = Math.round((ours.bytes / plain.bytes) * 1000) / 1000
  }
  const machine = {
    cpu: cpus()[0]?.model ?? arch(),
    cores: cpus().length,
    node: process.version,
    postgres: versions[0]?.server_version,
  }
  if (values.json) {
    console.log(JSON.stringify({ bench: 'storage', machine, cases: results, ratios, counts }))
    return
  }
  for (const { case: name, side, bytes } of results) {
    const share = side === 'ours' ? `  ${ratios[`${name}/plain`]?.toFixed(3)}x of plain` : ''
    const each = (bytes / rows).toFixed(1).padStart(7)
    console.log(
      `${name.padEnd(8)} ${side.padEnd(34)} ${(bytes / 2 ** 20).toFixed(0).padStart(6)} MiB ${each} bytes/row${share}`,
    )
  }
  for (const { hidden, workers, tableMs, viewMs } of counts) {
    const ratio = (viewMs / tableMs).toFixed(2)
    console.log(
      `count(*) ${hidden} accounts hidden, ${workers} workers: table ${tableMs} ms, view ${viewMs} ms  ${ratio}x of the table`,
    )
  }
}
