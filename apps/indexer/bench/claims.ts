// Question: does a claim stay as fast after a million others, while somebody's long snapshot keeps every dead index entry alive?
// And are the numbers behind the progress line read in under 50 ms?
// `npm run bench:claims [-- --json] [--repos 10000000] [--claims 1000000]`
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { Client } from 'pg'
import { type Database, migrate, openDatabase } from '../src/database.ts'
import { openState, type State } from '../src/state.ts'
import { median } from './median.ts'
import { openBenchPostgres } from './pipeline-postgres.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    repos: { type: 'string', default: '10000000' },
    claims: { type: 'string', default: '1000000' },
  },
})

const claimBatch = 500
const hosts = 40
const sample = 100
const progressTargetMs = 50

await using postgres = await openBenchPostgres()
const url = await postgres.freshDatabase()
const database = await openDatabase({ url })
await migrate(database)
const state = await openState(database)
const fillMs = await timed(() => fill(database, Number(values.repos)))
const snapshot = await holdSnapshot(url)
const times = await claimMany(state, Number(values.claims))
const progressMs = await medianOf(20, () => Promise.all([state.readBalance(), state.rowsByTable()]))
const workMs = await medianOf(5, () => state.hostsWithWork())
await snapshot.end()
await state.end()
await database.close()
report(await postgres.settings())

async function timed(run: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now()
  await run()
  return performance.now() - startMs
}

async function medianOf(reps: number, run: () => Promise<unknown>): Promise<number> {
  const times: number[] = []
  for (let rep = 0; rep < reps; rep++) times.push(await timed(run))
  return median(times)
}

/** Indexes are built after the rows: made row by row they would take the bench ten minutes. */
async function fill({ pool }: Database, repos: number): Promise<void> {
  const { rows: indexes } = await pool.query<{ name: string; statement: string }>(
    `select indexname as name, indexdef as statement from pg_indexes where schemaname = 'atproto' and tablename = 'repos'
     and indexname not in ('repos_pkey', 'repos_did_key')`,
  )
  await pool.query('alter table repos drop constraint repos_did_key')
  for (const { name } of indexes) await pool.query(`drop index ${name}`)
  await pool.query(
    `insert into hosts (origin) select 'https://host' || n || '.test' from generate_series(1, $1::int) n`,
    [hosts],
  )
  await pool.query(
    `insert into repos (did, host_id, signing_key)
     select 'did:plc:' || substr(md5(n::text), 1, 24), 1 + n % $2::int, 'did:key:zQ3sh' || md5(n::text) || 'abcdefghijklm' from generate_series(1, $1::int) n`,
    [repos, hosts],
  )
  await pool.query(`set maintenance_work_mem = '512MB'; alter table repos add constraint repos_did_key unique (did)`)
  for (const { statement } of indexes) await pool.query(statement)
  await pool.query(`insert into counters values ('discovered', 0, $1::bigint), ('repos/waiting', 0, $1::bigint)`, [
    repos,
  ])
  for (let table = 0; table < 20; table++) {
    await pool.query(`insert into counters select 'rows/table' || $1, n, 1 from generate_series(0, 127) n`, [table])
  }
  await pool.query('analyze')
}

async function holdSnapshot(url: string): Promise<Client> {
  const client = new Client({ connectionString: url })
  await client.connect()
  await client.query('begin isolation level repeatable read; select 1')
  return client
}

/** A host after the other, as the scheduler does. */
async function claimMany(state: State, claims: number): Promise<number[]> {
  const times: number[] = []
  for (let claimed = 0, turn = 0; claimed < claims; turn++) {
    const startMs = performance.now()
    const { length } = await state.claimRepos(1 + (turn % hosts), claimBatch)
    times.push(performance.now() - startMs)
    if (length === 0) break
    claimed += length
  }
  return times
}

function report(settings: Record<string, string>): void {
  const first = median(times.slice(0, sample))
  const last = median(times.slice(-sample))
  const cases = [
    { case: 'first claims of 500', side: 'ours', medianMs: first, reps: sample },
    { case: 'last claims of 500', side: 'ours', medianMs: last, reps: sample },
    { case: 'progress numbers', side: 'ours', medianMs: progressMs, reps: 20 },
    { case: 'hosts with work', side: 'ours', medianMs: workMs, reps: 5 },
  ].map((one) => ({ ...one, medianMs: Number(one.medianMs.toFixed(2)) }))
  const result = {
    bench: 'claims',
    machine: { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version, postgres: settings },
    repos: Number(values.repos),
    claimed: times.length * claimBatch,
    fillMs: Math.round(fillMs),
    slowestClaimMs: Math.round(Math.max(...times)),
    cases,
    ratios: {
      'last claims of 500/first': Number((first / last).toFixed(2)),
      'progress numbers/target': Number((progressTargetMs / progressMs).toFixed(2)),
    },
  }
  console.log(values.json ? JSON.stringify(result) : result)
}
