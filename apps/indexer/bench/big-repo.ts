// What does one huge repo do to the tiny ones beside it, and to memory? `npm run bench:big-repo [-- --json] [--records N]`.
// The same tiny repos are crawled alone and beside a repo of five million records; their rate is read from when each was
// committed. On a machine with other work the second ratio tells more: what the whole spent on a tiny repo, the huge one's share
// included. Both take turns, three times; of the ratios the middle one counts. Making the huge CAR takes a minute or two, once.
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { storeBigRepo } from './big-repo-car.ts'
import { median, medianBy } from './median.ts'
import { ask, openBenchPostgres } from './pipeline-postgres.ts'
import { runIndexer, startFarm } from './pipeline-run.ts'
import { usageOf } from './pipeline-usage.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    records: { type: 'string', default: '5000000' },
    tiny: { type: 'string', default: '10000' },
    rounds: { type: 'string', default: '3' },
    'indexer-args': { type: 'string', default: '' },
  },
})
const MiB = 1024 * 1024
const hosts = 8
const sampleEveryMs = 100
const tiny = { repos: Number(values.tiny), seed: 1 }
const args = values['indexer-args'].split(' ').filter((part) => part !== '')

const { dir } = await storeBigRepo({ seed: 7, records: Number(values.records) })
await using postgres = await openBenchPostgres()

interface Case {
  case: string
  tinyReposPerSecond: number
  /** Of all processes, from the first tiny repo's commit to the last's: what else was done meanwhile is in it. */
  cpuMsPerTinyRepo: number
  medianMs: number
  reps: number
  rows: number
  peakRssMiB: number
  peakHeldMiB: number
}

const rounds: { alone: Case; beside: Case }[] = []
for (let round = 0; round < Number(values.rounds); round++) {
  const alone = await measure('tiny alone', {})
  rounds.push({ alone, beside: await measure(`tiny beside ${values.records} records`, { dir }) })
}
const byRate = ({ tinyReposPerSecond }: Case) => tinyReposPerSecond
const cases = [rounds.map(({ alone }) => alone), rounds.map(({ beside }) => beside)].map((all) => medianBy(all, byRate))
const roundRatios = rounds.map(({ alone, beside }) => round(byRate(beside) / byRate(alone)))
const ratios = {
  'tiny rate, beside/alone': median(roundRatios),
  'CPU a tiny repo, alone/beside': round(
    median(rounds.map(({ alone, beside }) => alone.cpuMsPerTinyRepo / beside.cpuMsPerTinyRepo)),
  ),
}
const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version }
const report = { bench: 'big-repo', machine, cases, ratios, roundRatios }
console.log(values.json ? JSON.stringify(report) : report)

async function measure(name: string, more: { dir?: string }): Promise<Case> {
  const url = await postgres.freshDatabase()
  await using farm = await startFarm({ ...more, tiny, hosts })
  let pid = -1
  const cpuMs = () => (usageOf(pid)?.cpuMs ?? 0) + postgres.cpuMs() + farm.cpuMs()
  const samples: { atMs: number; cpuMs: number }[] = []
  const timer = setInterval(() => samples.push({ atMs: Date.now(), cpuMs: cpuMs() }), sampleEveryMs)
  const onStart = (started: number) => {
    pid = started
  }
  const { wallMs, rows, indexer, summary } = await runIndexer({ farm, postgres, url, args, onStart })
  clearInterval(timer)
  const [tinyMs] = await ask<{ first: number; last: number }>(
    url,
    `select 1000 * extract(epoch from min(indexed_at))::float8 as first, 1000 * extract(epoch from max(indexed_at))::float8 as last
     from atproto.repos where records < 1000`,
  )
  if (tinyMs === undefined) throw new Error('an aggregate gives one row')
  const { first, last } = tinyMs
  const meanwhile = samples.filter(({ atMs }) => atMs >= first && atMs <= last)
  return {
    case: name,
    tinyReposPerSecond: Math.round((tiny.repos * 1000) / (last - first)),
    cpuMsPerTinyRepo: round(((meanwhile.at(-1)?.cpuMs ?? 0) - (meanwhile[0]?.cpuMs ?? 0)) / tiny.repos),
    medianMs: Math.round(wallMs),
    reps: Number(values.rounds),
    rows,
    peakRssMiB: Math.round(indexer.peakRssBytes / MiB),
    peakHeldMiB: Math.round(summary.peakHeldBytes / MiB),
  }
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}
