// Question: do the time for a repo and the memory stay as they are when there are more repos? `npm run bench:growth [-- --json]`.
// The indexer crawls 10^3, 10^4 and 10^5 tiny repos of 20 records, made on the fly by the farm, each into a fresh database. The
// start (modules, tables) is in the time, so the first size shows more for a repo; `perRepoMicros` of the steps between sizes does not.
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { openBenchPostgres } from './pipeline-postgres.ts'
import { type IndexerRun, runIndexer, startFarm } from './pipeline-run.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    sizes: { type: 'string', default: '1000,10000,100000' },
    verify: { type: 'string', default: 'structure' },
  },
})

const MiB = 1024 * 1024
const hosts = 8

await using postgres = await openBenchPostgres()
const runs: IndexerRun[] = []
for (const repos of values.sizes.split(',').map(Number)) {
  const url = await postgres.freshDatabase()
  await using farm = await startFarm({ tiny: { repos, seed: 1 }, hosts })
  const run = await runIndexer({ farm, postgres, url, args: ['--verify', values.verify] })
  process.stderr.write(`${repos} repos  ${Math.round(run.wallMs)} ms\n`)
  runs.push(run)
}
report(await postgres.settings())

function report(settings: Record<string, string>): void {
  const cases = runs.map(({ wallMs, repos, rows, indexer, postgresCpuMs, farmCpuMs }, index) => {
    const before = runs[index - 1]
    const micros = (more: number, less = 0) => Math.round(((more - less) * 1000) / (repos - (before?.repos ?? 0)))
    return {
      case: `${repos} repos`,
      side: 'indexer',
      medianMs: Math.round(wallMs),
      reps: 1,
      rows,
      repos,
      peakRssMiB: Math.round(indexer.peakRssBytes / MiB),
      cpuMs: Math.round(indexer.cpuMs),
      /** Of the repos that the size before did not have. */
      perRepoMicros: {
        wall: micros(wallMs, before?.wallMs),
        indexer: micros(indexer.cpuMs, before?.indexer.cpuMs),
        postgres: micros(postgresCpuMs, before?.postgresCpuMs),
        farm: micros(farmCpuMs, before?.farmCpuMs),
      },
    }
  })
  const [first] = cases.slice(1)
  const last = cases.at(-1)
  const ratio = (more: number, less: number) => Number((more / less).toFixed(2))
  const ratios =
    first === undefined || last === undefined || first === last
      ? {}
      : {
          [`time of a repo, ${last.case}/${first.case}`]: ratio(first.perRepoMicros.wall, last.perRepoMicros.wall),
          [`memory, ${last.case}/${first.case}`]: ratio(first.peakRssMiB, last.peakRssMiB),
        }
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version, postgres: settings }
  const result = { bench: 'growth', machine, cases, ratios }
  if (values.json) console.log(JSON.stringify(result))
  else console.dir(result, { depth: null })
}
