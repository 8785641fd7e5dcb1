// How close does the whole come to what Postgres can take? `npm run bench:pipeline [-- --json] [--scale 0.05]`.
// A farm on loopback (relay, PLC, 8 PDSs; a process of its own) serves 20,000 ready repos and three of 100 MiB to the real
// indexer, a child process, which fills the embedded Postgres on the same cores; then psql loads the same rows into the same
// tables. Both sides take turns, three times; each run of the indexer is compared with psql's before and after it, and of these ratios the
// middle one counts, for a machine that is shared changes its speed from minute to minute.
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { median, medianBy } from './median.ts'
import { openBenchPostgres } from './pipeline-postgres.ts'
import { loadWithPsql, type PsqlLoad } from './pipeline-psql.ts'
import { storeRepos } from './pipeline-repos.ts'
import { type Farm, type IndexerRun, runIndexer, startFarm } from './pipeline-run.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    scale: { type: 'string', default: '1' },
    seed: { type: 'string', default: process.env.SEED ?? '1' },
    rounds: { type: 'string', default: '3' },
    only: { type: 'string', default: 'whole,tiny structure,tiny full' },
    'indexer-args': { type: 'string', default: '' },
    'node-args': { type: 'string', default: '' },
  },
})

const MiB = 1024 * 1024
const hosts = 8
const bigRepos = 3
/** Tiny: up to twice the median of 20. */
const tinyRecords = 40
const scale = Number(values.scale)
const byTime = ({ wallMs }: { wallMs: number }) => wallMs
const split = (text: string) => text.split(' ').filter((part) => part !== '')

interface Case {
  case: string
  side: string
  medianMs: number
  reps: number
  rows: number
  rowsPerSecond: number
  [more: string]: unknown
}

const { dir } = await storeRepos({
  seed: Number(values.seed),
  repos: Math.round(20_000 * scale),
  bigRepos,
  bigBytes: 100 * MiB * scale,
})
await using postgres = await openBenchPostgres()
const cases: Case[] = []
const wanted = values.only.split(',')
const roundRatios = wanted.includes('whole') ? await measureWhole() : []
for (const verify of ['structure', 'full'] as const) {
  if (wanted.includes(`tiny ${verify}`)) await measureTiny(verify)
}
report(await postgres.settings())

/** Gives psql's time over ours, of each round. */
async function measureWhole(): Promise<number[]> {
  const runs: IndexerRun[] = []
  const loads: PsqlLoad[] = []
  await using farm = await startFarm({ dir, hosts })
  for (let turn = 0; turn < Number(values.rounds); turn++) {
    const url = await postgres.freshDatabase()
    const ours = await run(farm, url)
    const psql = await loadWithPsql(url, postgres)
    if (psql.rows !== ours.rows) throw new Error('psql and the indexer wrote other rows')
    runs.push(ours)
    loads.push(psql)
  }
  const loaded = medianBy(loads, byTime)
  cases.push(describe('whole', runs))
  const { client, wallMs, rows, bytes, postgresCpuMs, clientCpuMs } = loaded
  const perRow = (ms: number) => round((ms * 1000) / rows)
  cases.push({
    case: 'whole',
    side: `${client} \\copy`,
    medianMs: Math.round(wallMs),
    reps: loads.length,
    rows,
    bytes,
    rowsPerSecond: Math.round((rows * 1000) / wallMs),
    cpuMicrosPerRow: { client: perRow(clientCpuMs), postgres: perRow(postgresCpuMs) },
  })
  return runs.map(({ wallMs }, turn) => {
    const around = loads.slice(Math.max(0, turn - 1), turn + 1)
    return round(around.reduce((sum, load) => sum + load.wallMs, 0) / around.length / wallMs)
  })
}

async function measureTiny(verify: 'structure' | 'full'): Promise<void> {
  const runs: IndexerRun[] = []
  await using farm = await startFarm({ dir, hosts, maxRecords: tinyRecords })
  for (let round = 0; round < Number(values.rounds); round++) {
    runs.push(await run(farm, await postgres.freshDatabase(), ['--verify', verify]))
  }
  cases.push(describe(`tiny repos, ${verify}`, runs))
}

function run(farm: Farm, url: string, args: string[] = []): Promise<IndexerRun> {
  const nodeArgs = split(values['node-args'])
  return runIndexer({ farm, postgres, url, nodeArgs, args: [...args, ...split(values['indexer-args'])] })
}

function describe(name: string, runs: readonly IndexerRun[]): Case {
  const { wallMs, rows, repos, indexer, postgresCpuMs, farmCpuMs, summary } = medianBy(runs, byTime)
  const perRow = (ms: number) => round((ms * 1000) / rows)
  return {
    case: name,
    side: 'indexer',
    medianMs: Math.round(wallMs),
    reps: runs.length,
    rows,
    rowsPerSecond: Math.round((rows * 1000) / wallMs),
    repos,
    reposPerSecond: Math.round((repos * 1000) / wallMs),
    peakRssMiB: Math.round(Math.max(...runs.map((one) => one.indexer.peakRssBytes)) / MiB),
    peakHeldMiB: Math.round(summary.peakHeldBytes / MiB),
    cpuMs: Math.round(indexer.cpuMs),
    cpuMicrosPerRow: { indexer: perRow(indexer.cpuMs), postgres: perRow(postgresCpuMs), farm: perRow(farmCpuMs) },
  }
}

function report(settings: Record<string, string>): void {
  const machine = {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    node: process.version,
    postgres: settings,
  }
  const psql = cases.find((one) => one.case === 'whole' && one.side !== 'indexer')
  const ratios = psql ? { [`whole/${psql.side}`]: median(roundRatios) } : {}
  if (values.json) {
    console.log(JSON.stringify({ bench: 'pipeline', machine, scale, cases, ratios, roundRatios }))
    return
  }
  console.log(machine)
  for (const one of cases) console.log(one)
  console.log(ratios, roundRatios)
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}
