// Question: how long until the command line answers, and until the first repo is done? `npm run bench:start [-- --json]`.
// Runs the launcher as a person does: `--help` with an empty and with a filled compile cache, then `run` against a farm of tiny
// repos on loopback until the database has a first repo that is done, with the tables there already and in an empty database.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { Client } from 'pg'
import { median } from './median.ts'
import { openBenchPostgres } from './pipeline-postgres.ts'
import { makeTables } from './pipeline-psql.ts'
import { startFarm } from './pipeline-run.ts'

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, reps: { type: 'string', default: '9' } },
})

const launcher = new URL('../../../indexer', import.meta.url).pathname
const reps = Number(values.reps)
const pollMs = 10
const giveUpMs = 60_000
const targets = { 'help, cache filled': 300, 'first repo, tables ready': 3_000 }

const home = mkdtempSync(join(tmpdir(), 'atproto-indexer-bench-'))
const env = { ...process.env, NODE_COMPILE_CACHE: join(home, 'compile') }
const dropCache = () => rmSync(env.NODE_COMPILE_CACHE, { recursive: true, force: true })
try {
  const cold = await repeat(reps, async () => {
    dropCache()
    return await timeHelp()
  })
  const warm = await repeat(reps, timeHelp)
  await using postgres = await openBenchPostgres()
  await using farm = await startFarm({ tiny: { repos: 2_000, seed: 1 }, hosts: 8 })
  const { relayUrl, plcUrl } = farm.urls
  const timeFirstRepo = async (ready: boolean) => {
    const url = await postgres.freshDatabase()
    if (ready) await makeTables(url)
    const network = ['--relay', relayUrl, '--plc', plcUrl, '--allow-private-hosts', '--database', url]
    return await untilFirstRepo(['run', '--no-live', '--log-json', '--spill-dir', join(home, 'spill'), ...network], url)
  }
  const ready = await repeat(Math.ceil(reps / 3), () => timeFirstRepo(true))
  const empty = await repeat(Math.ceil(reps / 3), () => timeFirstRepo(false))
  report({
    'help, cache empty': cold,
    'help, cache filled': warm,
    'first repo, tables ready': ready,
    'first repo, empty database': empty,
  })
} finally {
  rmSync(home, { recursive: true, force: true })
}

async function repeat(times: number, run: () => Promise<number>): Promise<number[]> {
  const taken: number[] = []
  for (let rep = 0; rep < times; rep++) taken.push(await run())
  return taken
}

async function timeHelp(): Promise<number> {
  const startMs = performance.now()
  const child = spawn(launcher, ['--help'], { stdio: ['ignore', 'ignore', 'inherit'], env })
  await once(child, 'close')
  if (child.exitCode !== 0) throw new Error(`--help ended with ${child.exitCode}`)
  return performance.now() - startMs
}

/** The run is stopped in order as soon as its first repo is done. */
async function untilFirstRepo(args: string[], url: string): Promise<number> {
  const startMs = performance.now()
  const child = spawn(launcher, args, { stdio: ['ignore', 'ignore', 'ignore'], env })
  const closed = once(child, 'close')
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    while (!(await hasDone(client))) {
      if (child.exitCode !== null) throw new Error(`the indexer ended with ${child.exitCode}`)
      if (performance.now() - startMs > giveUpMs) throw new Error('no repo is done after a minute')
      await sleep(pollMs)
    }
    return performance.now() - startMs
  } finally {
    await client.end()
    child.kill('SIGTERM')
    await closed
  }
}

async function hasDone(client: Client): Promise<boolean> {
  const { rows: tables } = await client.query(`select to_regclass('atproto.counters') is not null as there`)
  if (tables[0]?.there !== true) return false
  const { rows } = await client.query(`select from atproto.counters where name = 'repos/done' and value > 0 limit 1`)
  return rows.length > 0
}

function report(times: Record<string, number[]>): void {
  const cases = Object.entries(times).map(([name, taken]) => ({
    case: name,
    side: 'indexer',
    medianMs: Math.round(median(taken)),
    reps: taken.length,
  }))
  const ratios = Object.fromEntries(
    Object.entries(targets).map(([name, targetMs]) => {
      const oursMs = cases.find((one) => one.case === name)?.medianMs ?? 0
      return [`${name}/target`, Number((targetMs / oursMs).toFixed(2))]
    }),
  )
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version }
  if (values.json) console.log(JSON.stringify({ bench: 'start', machine, cases, ratios }))
  else console.log(machine, cases, ratios)
}
