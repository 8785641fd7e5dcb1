// Question: does a claim stay as fast after a million others, while somebody's long snapshot keeps every dead index entry alive?
// And are the numbers behind the progress line read in under 50 ms?
// `node --conditions=workspace-source apps/indexer/bench/claims.ts [--repos 1000000] [--claims 1000000] [--json]`
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { Client } from 'pg'
import { type Database, migrate, openDatabase } from '../src/database.ts'
import { openState, type State } from '../src/state.ts'
import { openBenchPostgres } from './pipeline-postgres.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    repos: { type: 'string', default: '1000000' },
    claims: { type: 'string', default: '1000000' },
  },
})

const claimBatch = 500
const hosts = 40
const sample = 100

await using postgres = await openBenchPostgres()
const url = await postgres.freshDatabase()
const database = await openDatabase({ url })
await migrate(database)
const state = await openState(database)
const fillMs = await timed(() => fill(database, Number(values.repos)))
const snapshot = await holdSnapshot(url)
const times = await claimMany(state, Number(values.claims))
const balanceMs = await medianOf(20, () => state.readBalance())
const rowsMs = await medianOf(20, () => state.rowsByTable())
const workMs = await medianOf(5, () => state.hostsWithWork())
await snapshot.end()
await state.end()
await database.close()
report()

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

function median(times: readonly number[]): number {
  return [...times].sort((a, b) => a - b)[times.length >> 1] ?? 0
}

async function fill({ pool }: Database, repos: number): Promise<void> {
  await pool.query(
    `insert into hosts (origin) select 'https://host' || n || '.test' from generate_series(1, $1::int) n`,
    [hosts],
  )
  await pool.query(
    `insert into repos (did, host_id, signing_key)
     select 'did:plc:' || substr(md5(n::text), 1, 24), 1 + n % $2::int, 'did:key:zQ3sh' || md5(n::text) || 'abcdefghijklm' from generate_series(1, $1::int) n`,
    [repos, hosts],
  )
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

function report(): void {
  const first = median(times.slice(0, sample))
  const last = median(times.slice(-sample))
  const cases = [
    { case: 'first claims of 500', side: 'ours', medianMs: first, reps: sample },
    { case: 'last claims of 500', side: 'ours', medianMs: last, reps: sample },
    { case: 'balance', side: 'ours', medianMs: balanceMs, reps: 20 },
    { case: 'rows by table', side: 'ours', medianMs: rowsMs, reps: 20 },
    { case: 'hosts with work', side: 'ours', medianMs: workMs, reps: 5 },
  ].map((one) => ({ ...one, medianMs: Number(one.medianMs.toFixed(2)) }))
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version }
  const ratios = { 'last claim/first': Number((first / last).toFixed(2)) }
  const repos = Number(values.repos)
  if (values.json)
    console.log(JSON.stringify({ bench: 'claims', machine, repos, claims: times.length * claimBatch, cases, ratios }))
  else
    console.log(
      {
        repos,
        claims: times.length * claimBatch,
        fillMs: Math.round(fillMs),
        slowestMs: Math.round(Math.max(...times)),
      },
      cases,
      ratios,
    )
}
