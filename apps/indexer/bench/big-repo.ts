// What does one huge repo do to the tiny ones beside it, and to memory? `npm run bench:big-repo [-- --json] [--records N]`.
// The same tiny repos are crawled alone and beside a repo of five million records; their rate is read from when each was
// committed. Making the huge CAR takes a minute or two, once.
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { storeBigRepo } from './big-repo-car.ts'
import { ask, openBenchPostgres } from './pipeline-postgres.ts'
import { runIndexer, startFarm } from './pipeline-run.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    records: { type: 'string', default: '5000000' },
    tiny: { type: 'string', default: '10000' },
    rounds: { type: 'string', default: '1' },
    'indexer-args': { type: 'string', default: '' },
  },
})
const MiB = 1024 * 1024
const hosts = 8
const tiny = { repos: Number(values.tiny), seed: 1 }
const args = values['indexer-args'].split(' ').filter((part) => part !== '')

const { dir } = await storeBigRepo({ seed: 7, records: Number(values.records) })
await using postgres = await openBenchPostgres()

interface Case {
  case: string
  tinyReposPerSecond: number
  medianMs: number
  reps: number
  rows: number
  peakRssMiB: number
  peakHeldMiB: number
}

const alone: Case[] = []
const beside: Case[] = []
for (let round = 0; round < Number(values.rounds); round++) {
  alone.push(await measure('tiny alone', {}))
  beside.push(await measure(`tiny beside ${values.records} records`, { dir }))
}
const cases = [median(alone), median(beside)]
const [first, second] = cases
const ratio =
  first && second ? Math.round((second.tinyReposPerSecond / first.tinyReposPerSecond) * 100) / 100 : undefined
const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version }
const report = { bench: 'big-repo', machine, cases, ratios: { 'tiny rate, beside/alone': ratio } }
console.log(values.json ? JSON.stringify(report) : report)

async function measure(name: string, more: { dir?: string }): Promise<Case> {
  const url = await postgres.freshDatabase()
  await using farm = await startFarm({ ...more, tiny, hosts })
  const { wallMs, rows, indexer, summary } = await runIndexer({ farm, postgres, url, args })
  const [times] = await ask<{ seconds: number }>(
    url,
    `select extract(epoch from max(indexed_at) - min(indexed_at))::float8 as seconds from atproto.repos where records < 1000`,
    [],
  )
  return {
    case: name,
    tinyReposPerSecond: Math.round(tiny.repos / (times?.seconds ?? 0)),
    medianMs: Math.round(wallMs),
    reps: Number(values.rounds),
    rows,
    peakRssMiB: Math.round(indexer.peakRssBytes / MiB),
    peakHeldMiB: Math.round(summary.peakHeldBytes / MiB),
  }
}

function median(runs: readonly Case[]): Case {
  const middle = runs.toSorted((a, b) => a.tinyReposPerSecond - b.tinyReposPerSecond)[runs.length >> 1]
  if (middle === undefined) throw new Error('there is at least one round')
  return middle
}
