// What does the thread that indexes cost by itself, without Postgres and all that feeds it? `npm run bench:index-thread
// [-- --json --repos 6000] [--dir DIR]`. A farm on loopback serves tiny repos, made as they are asked for (or the stored
// ones of bench:pipeline), to one thread, whose rows are dropped here. CPU is that of the process by thread, from /proc, over
// the repos after a warm-up; it says where a change helps even while the machine has other work.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { loadConfig } from '../src/config.ts'
import { openIndexPool } from '../src/index-pool.ts'
import { MemoryBudget } from '../src/memory-budget.ts'
import type { ClaimedRepo } from '../src/state.ts'
import { startFarm } from './pipeline-run.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    repos: { type: 'string', default: '6000' },
    'warm-up': { type: 'string', default: '3000' },
    concurrency: { type: 'string', default: '64' },
    /** A batch's time to fill and to be committed. */
    'commit-ms': { type: 'string', default: '500' },
    dir: { type: 'string' },
  },
})
const MiB = 1024 * 1024
const hosts = 8
const commitMs = Number(values['commit-ms'])
const wanted = Number(values.repos)
const warmUp = values.dir === undefined ? Number(values['warm-up']) : 0

await using farm = await startFarm(
  values.dir === undefined ? { hosts, tiny: { repos: warmUp + wanted, seed: 1 } } : { hosts, dir: values.dir },
)
const spillDir = mkdtempSync(join(tmpdir(), 'atproto-indexer-bench-'))
const budget = new MemoryBudget(512 * MiB)
const spills = new MemoryBudget(1024 * MiB)
let rows = 0
let peakHeld = 0
const config = await loadConfig()
await using pool = openIndexPool({
  threads: 1,
  setup: {
    config,
    http: { version: 'bench', allowPrivateHosts: true },
    plcUrls: [farm.urls.plcUrl],
    budget: { limitBytes: budget.limitBytes, shared: budget.shared },
    repoMemoryBytes: 16 * MiB,
    largeRepoBytes: 32 * MiB,
    hugeBytes: 32 * MiB,
    spillDir,
    spills: { limitBytes: spills.limitBytes, shared: spills.shared },
    verify: 'structure',
  },
  writer: {
    add: async (repo) => {
      rows += repo.rows
      await sleep(commitMs)
      return 'committed'
    },
    addLarge: async (_claim, chunks) => {
      for await (const chunk of chunks) {
        if (!('table' in chunk)) continue
        rows += chunk.rows
        chunk.release?.()
      }
      return 'committed'
    },
  },
  signal: new AbortController().signal,
  onSeen: () => {},
  onFetched: () => {},
})
const claims = await listClaims()
await index(claims.slice(0, warmUp))
rows = 0
const before = cpuMsByThread()
const startMs = performance.now()
await index(claims.slice(warmUp))
const wallMs = performance.now() - startMs
report(cpuMsByThread())
rmSync(spillDir, { recursive: true })

async function index(todo: ClaimedRepo[]): Promise<void> {
  const queue = todo.values()
  const unwritten: Promise<unknown>[] = []
  await Promise.all(
    Array.from({ length: Number(values.concurrency) }, async () => {
      for (const claim of queue) {
        const { written } = await pool.indexRepo(claim)
        peakHeld = Math.max(peakHeld, process.memoryUsage.rss())
        unwritten.push(written)
      }
    }),
  )
  await Promise.all(unwritten)
}

/** Every PDS of the farm has every repo. */
async function listClaims(): Promise<ClaimedRepo[]> {
  const found: ClaimedRepo[] = []
  const origins: string[] = []
  for (let cursor: string | undefined = '0'; cursor !== undefined; ) {
    const page: { repos: { did: string }[]; cursor?: string } = await getJson(
      `${farm.urls.relayUrl}/x?cursor=${cursor}`,
    )
    for (const { did } of page.repos) {
      if (origins.length < hosts) origins.push(await hostOf(did))
      const host = origins[found.length % hosts] ?? ''
      const claim = { claim: '1', rev: null, hostId: 1, signingKey: null, handle: null, attempts: 0 }
      found.push({ ...claim, id: found.length, did, host })
    }
    cursor = page.cursor
  }
  return found
}

async function hostOf(did: string): Promise<string> {
  const document: { service: { serviceEndpoint: string }[] } = await getJson(`${farm.urls.plcUrl}/${did}`)
  return document.service[0]?.serviceEndpoint ?? ''
}

async function getJson<Value>(url: string): Promise<Value> {
  const value: Value = JSON.parse(await (await fetch(url)).text())
  return value
}

/** Of this process, by the names that its threads have. */
function cpuMsByThread(): Map<string, number> {
  const sums = new Map<string, number>()
  for (const id of readdirSync('/proc/self/task')) {
    const stat = readFileSync(`/proc/self/task/${id}/stat`, 'latin1')
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const name = Number(id) === process.pid ? 'main' : stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'))
    sums.set(name, (sums.get(name) ?? 0) + (Number(fields[11]) + Number(fields[12])) * 10)
  }
  return sums
}

function report(after: Map<string, number>): void {
  const repos = claims.length - warmUp
  const spent = [...after].map(([name, ms]) => ({ name, ms: ms - (before.get(name) ?? 0) }))
  const cpuMs = spent.reduce((sum, { ms }) => sum + ms, 0)
  const byThread = Object.fromEntries(spent.map(({ name, ms }) => [name, Math.round((ms * 1000) / repos)]))
  const result = {
    case: values.dir === undefined ? 'tiny repos' : 'stored repos',
    side: 'thread',
    medianMs: Math.round(wallMs),
    reps: 1,
    repos,
    rows,
    cpuMs,
    cpuMicrosPerRepo: Math.round((cpuMs * 1000) / repos),
    cpuMicrosPerRow: Math.round((cpuMs * 100_000) / rows) / 100,
    microsPerRepoByThread: byThread,
    peakRssMiB: Math.round(peakHeld / MiB),
  }
  if (!values.json) console.log(result)
  else {
    const machine = { cpu: cpus()[0]?.model ?? 'unknown', cores: cpus().length, node: process.version }
    console.log(JSON.stringify({ bench: 'index-thread', machine, cases: [result], ratios: {} }))
  }
}
