// Question: does Postgres stay as fast when the tables grow, keys in place? `npm run bench:size [-- --json] [--rows 100000000]`.
// Finished repos of the usual mix go through claims and our writer into the embedded Postgres in the order of a crawl, step by
// step; then `finish` builds the secondary indexes. Ends by itself when the disk has less than `--reserve` GiB left.
// `--set name=value` changes a setting of the server, to see what it does alone.
import { statfsSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { type Database, migrate, openDatabase } from '../src/database.ts'
import { finish } from '../src/finish.ts'
import { applySchema, tableName } from '../src/schema.ts'
import { type ClaimedRepo, openState } from '../src/state.ts'
import { openWriter } from '../src/write.ts'
import { openBenchPostgres } from './pipeline-postgres.ts'
import { createRepoSource } from './size-repos.ts'
import { type Cost, costBetween, look, probe } from './size-watch.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rows: { type: 'string', default: '100000000' },
    step: { type: 'string', default: '5000000' },
    reserve: { type: 'string', default: '8' },
    seed: { type: 'string', default: '1' },
    'no-finish': { type: 'boolean', default: false },
    set: { type: 'string', multiple: true, default: [] },
  },
})

const GiB = 1024 ** 3
const wanted = Number(values.rows)
const stepRows = Math.min(Number(values.step), Math.ceil(wanted / 4))
const reserveBytes = Number(values.reserve) * GiB
/** Heap and keys of a row to come (354 measured), and the index and sort files that `finish` makes for each that is there. */
const bytesPerRow = 400
const finishBytesPerRow = 170
const hosts = 8
const claimBatch = 500
/** As in a crawl: finished rows that wait for their commit. */
const maxHeldBytes = 64 * 1024 * 1024

const insertRepos = `
  with made as (
    insert into repos (did, host_id, signing_key)
    select 'did:plc:' || substr(translate(encode(sha256(n::text::bytea), 'hex'), '0189', 'wxyz'), 1, 24), 1 + n % $3::int,
      'did:key:zQ3sh' || substr(encode(sha256(n::text::bytea), 'hex'), 1, 44)
    from generate_series($1::bigint, $2::bigint) n
    returning 1
  )
  insert into counters (name, writer, value)
  select name, 0, count(*) from made, unnest('{discovered,repos/waiting}'::text[]) as name group by name
  on conflict (name, writer) do update set value = counters.value + excluded.value`

interface Step extends Cost {
  rows: number
  ms: number
  rowsPerSecond: number
  probeMs: number
}

const source = await createRepoSource(Number(values.seed))
await using postgres = await openBenchPostgres(
  Object.fromEntries(values.set.map((one) => one.split(/=(.*)/s, 2) as [string, string])),
)
const database = await openDatabase({ url: await postgres.freshDatabase() })
await migrate(database)
await applySchema(database, source)
const state = await openState(database)
const writer = openWriter({ database, config: source.config, process: () => state.process })
await database.pool.query(
  `insert into hosts (origin) select 'https://host' || n || '.test' from generate_series(1, $1::int) n`,
  [hosts],
)

const waiting = claims()
const steps: Step[] = []
let stopped: string | undefined
for (let rows = 0; rows < wanted && stopped === undefined; ) {
  const step = await measureStep(Math.min(stepRows, wanted - rows))
  rows += step.rows
  steps.push(step)
  process.stderr.write(
    `${rows.toLocaleString('en-US')} rows  ${step.rowsPerSecond.toLocaleString('en-US')}/s  ${JSON.stringify(step)}\n`,
  )
  const free = freeBytes()
  if (free < reserveBytes + stepRows * bytesPerRow + rows * finishBytesPerRow)
    stopped = `the disk has ${(free / GiB).toFixed(1)} GiB left`
}
await writer.close()
await state.end()
const loaded = await sizes(database)
const built = values['no-finish'] ? undefined : await build(database)
report(await postgres.settings())
await database.close()

async function measureStep(atLeast: number): Promise<Step> {
  const probeMs = probe()
  const { result: rows, ms, cost } = await measured(() => load(atLeast))
  return { rows, ms, rowsPerSecond: Math.round((rows * 1000) / ms), probeMs, ...cost(rows) }
}

interface Measured<T> {
  ms: number
  cost: (rows: number) => Cost
  result: T
}

async function measured<T>(work: () => Promise<T>): Promise<Measured<T>> {
  const before = await look(database, postgres)
  const startMs = performance.now()
  const result = await work()
  const ms = Math.round(performance.now() - startMs)
  const after = await look(database, postgres)
  return { ms, result, cost: (rows) => costBetween(before, after, rows) }
}

/** Ends with the commit of all that it began. */
async function load(atLeast: number): Promise<number> {
  const unwritten = new Set<Promise<unknown>>()
  let rows = 0
  let heldBytes = 0
  while (rows < atLeast) {
    const { value: claim } = await waiting.next()
    if (claim === undefined) throw new Error('there is no end of repos')
    const repo = source.next(claim)
    rows += repo.rows
    heldBytes += repo.bytes
    const written = writer.add(repo).finally(() => {
      heldBytes -= repo.bytes
      unwritten.delete(written)
    })
    unwritten.add(written)
    while (heldBytes > maxHeldBytes || unwritten.size > 4_000) await Promise.race(unwritten)
  }
  writer.flush()
  await Promise.all(unwritten)
  return rows
}

/** Repos that wait, made as they are needed, then claimed as a crawl claims them. */
async function* claims(): AsyncGenerator<ClaimedRepo, undefined> {
  const { rows: hostRows } = await database.pool.query<{ id: number }>('select id from hosts order by id')
  for (let made = 0; ; made += claimBatch * hosts) {
    await database.pool.query(insertRepos, [made, made + claimBatch * hosts - 1, hosts])
    for (const { id } of hostRows) yield* await state.claimRepos(id, claimBatch)
  }
}

async function sizes({ pool }: Database): Promise<{ heapBytes: number; indexBytes: number }> {
  const names = source.config.tables.map((table) => `atproto.${tableName(table)}`)
  const { rows } = await pool.query<{ heapBytes: number; indexBytes: number }>(
    `select sum(pg_table_size(name::regclass))::float8 as "heapBytes", sum(pg_indexes_size(name::regclass))::float8 as "indexBytes"
     from unnest($1::text[]) as name`,
    [names],
  )
  return rows[0] ?? { heapBytes: 0, indexBytes: 0 }
}

async function build(database: Database) {
  const { ms, result, cost } = await measured(() => finish(database, { config: source.config }))
  return { ms, indexes: result.built, cost: cost(steps.reduce((sum, step) => sum + step.rows, 0)) }
}

function freeBytes(): number {
  const { bavail, bsize } = statfsSync(tmpdir())
  return bavail * bsize
}

function report(settings: Record<string, string>): void {
  const rows = steps.reduce((sum, step) => sum + step.rows, 0)
  const perRow = (bytes: number) => Number((bytes / rows).toFixed(1))
  const [first] = steps
  const last = steps.at(-1)
  const slowest = steps.reduce((slowest, step) => (step.rowsPerSecond < slowest.rowsPerSecond ? step : slowest))
  const share = (one: Step, other: Step) => Number((one.rowsPerSecond / other.rowsPerSecond).toFixed(2))
  const cases = [
    ...steps.map(({ ms, ...step }, index) => ({
      case: `step ${index + 1}`,
      side: 'ours',
      medianMs: ms,
      reps: 1,
      ...step,
    })),
    ...(built === undefined
      ? []
      : [{ case: 'finish', side: 'finish', medianMs: built.ms, reps: 1, rows, ...built.cost }]),
    ...(built?.indexes ?? []).map(({ name, ms, bytes }) => ({
      case: name,
      side: 'finish',
      medianMs: ms,
      reps: 1,
      rows,
      bytes,
    })),
  ]
  const result = {
    bench: 'size',
    machine: { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version, postgres: settings },
    rows,
    ...(stopped === undefined ? {} : { stopped }),
    bytesPerRow: {
      heap: perRow(loaded.heapBytes),
      keys: perRow(loaded.indexBytes),
      secondary: perRow((built?.indexes ?? []).reduce((sum, { bytes }) => sum + bytes, 0)),
    },
    cases,
    ratios: first && last ? { 'last step/first': share(last, first), 'slowest step/first': share(slowest, first) } : {},
  }
  console.log(values.json ? JSON.stringify(result) : result)
}
