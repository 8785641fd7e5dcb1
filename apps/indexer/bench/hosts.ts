// Does the scheduler keep every host as busy as it allows, and none over its limit? `npm run bench:hosts [-- --json]`.
// First on a virtual clock at full scale (100 hosts of 1 to 1,000,000 repos, 256 requests in flight, 5 % failures, hosts
// that change limits, die and return), then a crawl of 1/100 of the repos over real HTTP beside the same one simulated.
// `ratios` is theory over ours by case: 1 is a crawl that nothing could beat. How idle hosts were stands in the cases:
// `idleShare` of all hosts together, `worst` of the one that was left alone most.
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { defaultHostLimits, type HostLimits } from '../src/hosts-limits.ts'
import { createPopulation } from './hosts-population.ts'
import { crawlRealHosts } from './hosts-real.ts'
import { simulateHosts } from './hosts-simulation.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    seed: { type: 'string', default: process.env.SEED ?? '1' },
    repos: { type: 'string', default: '1000000' },
    'no-real': { type: 'boolean', default: false },
    'time-scale': { type: 'string', default: '0.1' },
  },
})
const seed = Number(values.seed)
const maxRepos = Number(values.repos)

interface Case {
  case: string
  side: string
  medianMs: number
  reps: 1
  [more: string]: unknown
}

const cases: Case[] = []
const ratios: Record<string, number> = {}
const problems: string[] = []

const hundredthHeapMiB = runVirtual('virtual, 1/100', Math.ceil(maxRepos / 100), false)
const heapMiB = runVirtual('virtual', maxRepos, true)
if (heapMiB > hundredthHeapMiB + 4) problems.push('memory grows with the number of repos')
if (!values['no-real']) await runReal()
report()

/** The heap when half of the repos were done. */
function runVirtual(name: string, repos: number, strict: boolean): number {
  const startMs = performance.now()
  let heapMiB = 0
  const onHalf = () => {
    heapMiB = collectedHeapMiB()
  }
  const result = simulateHosts(createPopulation({ seed, maxRepos: repos }), { seed, onHalf })
  const { virtualMs, theoryMs, idleShare, hosts, ...rest } = result
  const worst = Math.max(...hosts.map((host) => host.idleShare))
  const overLimit = sumOf(hosts, ({ overLimit, refused }) => overLimit + refused)
  const cpuMs = performance.now() - startMs
  cases.push({
    case: name,
    side: 'ours',
    medianMs: virtualMs,
    reps: 1,
    ...rest,
    idleShare,
    worst,
    overLimit,
    heapMiB,
    cpuMs,
  })
  cases.push({ case: name, side: 'theory', medianMs: theoryMs, reps: 1 })
  ratios[`${name}/theory`] = theoryMs / virtualMs
  if (strict && worst > 0.03) problems.push(`a host is left idle for ${(worst * 100).toFixed(1)} %`)
  if (idleShare > 0.03) problems.push(`hosts are left idle for ${(idleShare * 100).toFixed(1)} %`)
  if (overLimit > 0) problems.push(`${overLimit} requests were over a limit`)
  return heapMiB
}

async function runReal(): Promise<void> {
  const timeScale = Number(values['time-scale'])
  const population = createPopulation({ seed, maxRepos: maxRepos / 100, timeScale })
  const limits = scaledLimits(timeScale)
  const simulated = simulateHosts(population, { seed, limits })
  const real = await crawlRealHosts(population, { seed, limits })
  const deviation = real.wallMs / simulated.virtualMs - 1
  const { wallMs, ...counts } = real
  cases.push({ case: 'real HTTP, 1/100', side: 'ours', medianMs: wallMs, reps: 1, ...counts, deviation })
  cases.push({ case: 'real HTTP, 1/100', side: 'simulated', medianMs: simulated.virtualMs, reps: 1 })
  cases.push({ case: 'real HTTP, 1/100', side: 'theory', medianMs: simulated.theoryMs, reps: 1 })
  ratios['real HTTP, 1/100/theory'] = simulated.theoryMs / wallMs
  if (Math.abs(deviation) > 0.05)
    problems.push(`the real run took ${(deviation * 100).toFixed(1)} % more than the simulated`)
}

/** The production limits in the faster time of the real run. */
function scaledLimits(timeScale: number): Partial<HostLimits> {
  const limits: Record<string, number> = {}
  for (const [name, value] of Object.entries(defaultHostLimits))
    if (name.endsWith('Ms')) limits[name] = value * timeScale
  return limits
}

function report(): void {
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version }
  if (values.json) {
    process.stdout.write(`${JSON.stringify({ bench: 'hosts', machine, seed, cases, ratios, problems })}\n`)
  } else {
    console.table(cases)
    console.table(ratios)
    for (const problem of problems) process.stderr.write(`bench:hosts: ${problem}\n`)
  }
  if (problems.length > 0) process.exitCode = 1
}

function collectedHeapMiB(): number {
  setFlagsFromString('--expose-gc')
  runInNewContext('gc')()
  return process.memoryUsage().heapUsed / 1024 ** 2
}

function sumOf<Item>(items: Item[], value: (item: Item) => number): number {
  return items.reduce((sum, item) => sum + value(item), 0)
}
