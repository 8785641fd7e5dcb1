// One run of the real indexer as a child process against the farm: options in, wall time, CPU by process and peak memory out.
// The wall time is from the command's start (schema, listing and resolution included) to the last commit; the secondary
// indexes, which a first crawl builds after it, are no part of it.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { FarmOptions, FarmUrls } from './pipeline-farm.ts'
import type { BenchPostgres } from './pipeline-postgres.ts'
import { type Usage, usageOf } from './pipeline-usage.ts'

export interface Farm extends AsyncDisposable {
  urls: FarmUrls
  cpuMs(): number
}

const condition = '--conditions=workspace-source'
const path = (name: string) => new URL(name, import.meta.url).pathname

export async function startFarm(options: FarmOptions): Promise<Farm> {
  const child = spawn(process.execPath, [condition, path('pipeline-farm.ts'), JSON.stringify(options)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout })
  const [line]: unknown[] = await once(lines, 'line')
  const urls: FarmUrls = JSON.parse(String(line))
  return {
    urls,
    cpuMs: () => usageOf(urls.pid)?.cpuMs ?? 0,
    [Symbol.asyncDispose]: async () => {
      child.stdin.end()
      if (child.exitCode === null) await once(child, 'exit')
    },
  }
}

export interface IndexerRun {
  wallMs: number
  indexer: Usage
  postgresCpuMs: number
  farmCpuMs: number
  repos: number
  rows: number
  /** The indexer's own summary. */
  summary: Summary
}

interface Summary {
  balance: { done: number; discovered: number }
  tables: { name: string; rows: number }[]
  peakHeldBytes: number
}

export interface RunOptions {
  farm: Farm
  postgres: BenchPostgres
  url: string
  args?: string[]
  /** Of Node, such as --cpu-prof. */
  nodeArgs?: string[]
  onStart?: (pid: number) => void
}

/** Throws when a repo is not done at the end. */
export async function runIndexer({
  farm,
  postgres,
  url,
  args = [],
  nodeArgs = [],
  onStart,
}: RunOptions): Promise<IndexerRun> {
  const { relayUrl, plcUrl, repos } = farm.urls
  const network = ['--relay', relayUrl, '--plc', plcUrl, '--allow-private-hosts', '--database', url]
  const spillDir = join(tmpdir(), `atproto-indexer-bench-spill-${process.pid}`)
  const command = ['run', '--no-live', '--log-json', ...network]
  const before = { postgres: postgres.cpuMs(), farm: farm.cpuMs() }
  const startMs = performance.now()
  // By the launcher, which knows flags and bounds of memory; it becomes Node, under the same pid.
  const child = spawn(path('../../../indexer'), [...command, '--spill-dir', spillDir, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...compileCacheEnv(), NODE_OPTIONS: [process.env.NODE_OPTIONS ?? '', ...nodeArgs].join(' ') },
  })
  onStart?.(child.pid ?? -1)
  const usage = watchUsage(child)
  const crawled = Promise.withResolvers<Omit<IndexerRun, 'repos' | 'rows' | 'summary'>>()
  createInterface({ input: child.stderr }).on('line', (line) => {
    if (process.env.BENCH_LOG) process.stderr.write(`${line}\n`)
    if (!line.includes('"crawl complete"')) return
    crawled.resolve({
      wallMs: performance.now() - startMs,
      indexer: usage(),
      postgresCpuMs: postgres.cpuMs() - before.postgres,
      farmCpuMs: farm.cpuMs() - before.farm,
    })
  })
  const output: Buffer[] = []
  child.stdout.on('data', (bytes: Buffer) => output.push(bytes))
  await once(child, 'close')
  rmSync(spillDir, { recursive: true, force: true })
  if (child.exitCode !== 0) throw new Error(`the indexer ended with ${child.exitCode ?? child.signalCode}`)
  const summary: Summary = JSON.parse(Buffer.concat(output).toString('utf8'))
  if (summary.balance.done !== repos) throw new Error(`${summary.balance.done} of ${repos} repos are done`)
  const rows = summary.tables.reduce((sum, { rows }) => sum + rows, 0)
  return { ...(await crawled.promise), repos, rows, summary }
}

/** As the launcher does it. */
export function compileCacheEnv(): NodeJS.ProcessEnv {
  return { NODE_COMPILE_CACHE: join(tmpdir(), 'atproto-indexer-bench', 'compile'), ...process.env }
}

/** The last look at a process before it ended. */
function watchUsage(child: ChildProcess): () => Usage {
  let last: Usage = { cpuMs: 0, peakRssBytes: 0 }
  const look = () => {
    const now = usageOf(child.pid ?? -1)
    if (now !== undefined && now.cpuMs >= last.cpuMs && now.peakRssBytes > 0) last = now
  }
  const timer = setInterval(look, 200)
  child.once('exit', () => clearInterval(timer))
  return () => {
    look()
    return last
  }
}
