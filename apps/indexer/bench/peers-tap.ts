// tap of bluesky-social/indigo against the farm, in full-network mode with its own store: a folder of CARs in, wall and CPU time
// out. The command comes through the user's own Go into the temporary folder; nothing of it is kept in this repository.
// It keeps (did, collection, rkey, cid), and the record as JSON in
// its outbox. The outbox is made large enough for all records and for each repo's events, so that no consumer's speed counts.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from '../src/free-port.ts'
import type { SideAnswer } from './peers-side.ts'
import { type Farm, startFarm } from './pipeline-run.ts'
import { usageOf } from './pipeline-usage.ts'

const source = 'github.com/bluesky-social/indigo/cmd/tap@latest'
const home = join(tmpdir(), 'atproto-indexer-bench', 'go')
const command = join(home, 'bin', 'tap')
const installMs = 10 * 60_000
const runMs = 15 * 60_000
const pollMs = 20

/** Undefined when the command is there; else why it is not. */
export function installTap(): string | undefined {
  if (existsSync(command)) return undefined
  if (spawnSync('go', ['version']).status !== 0) return 'go is not installed'
  mkdirSync(home, { recursive: true })
  const env = { ...process.env, GOPATH: home, GOBIN: join(home, 'bin'), GOFLAGS: '-modcacherw' }
  const { status, stderr } = spawnSync('go', ['install', source], { env, encoding: 'utf8', timeout: installMs })
  return status === 0 ? undefined : `go install ${source} failed: ${stderr.trim().split('\n').at(-1)}`
}

/** Throws when a repo fails, or when it takes a quarter of an hour. */
export async function runTap(dir: string, { hosts }: { hosts: number }): Promise<SideAnswer> {
  const store = mkdtempSync(join(tmpdir(), 'atproto-indexer-bench-tap-'))
  await using farm = await startFarm({ dir, hosts, handles: false })
  const [port, metricsPort] = [await freePort(), await freePort()]
  const startMs = performance.now()
  const child = spawn(command, ['run', ...options(farm, store, { port, metricsPort })], { cwd: store, stdio: 'ignore' })
  try {
    await allDone(child, farm.urls.repos, metricsPort)
    const wallMs = performance.now() - startMs
    const { cpuMs, peakRssBytes } = usageOf(child.pid ?? -1) ?? { cpuMs: 0, peakRssBytes: 0 }
    return { rows: farm.urls.records, wallMs, cpuMs, postgresCpuMs: 0, peakRssMiB: peakRssBytes / 1024 / 1024 }
  } finally {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    rmSync(store, { recursive: true, force: true })
  }
}

function options(farm: Farm, store: string, { port, metricsPort }: { port: number; metricsPort: number }): string[] {
  const { relayUrl, plcUrl, records, repos } = farm.urls
  return [
    '--full-network',
    ...['--relay-url', relayUrl, '--plc-url', plcUrl, '--db-url', `sqlite://${join(store, 'tap.db')}`],
    ...['--bind', `127.0.0.1:${port}`, '--metrics-listen', `127.0.0.1:${metricsPort}`],
    ...['--outbox-capacity', String(records + 10 * repos), '--log-level', 'error'],
  ]
}

/** A repo counts as resynced when the transaction of its last records has committed. */
async function allDone(child: ChildProcess, repos: number, metricsPort: number): Promise<void> {
  const endMs = performance.now() + runMs
  while (performance.now() < endMs) {
    if (child.exitCode !== null) throw new Error(`tap ended with ${child.exitCode}`)
    const text = await fetch(`http://127.0.0.1:${metricsPort}/metrics`).then(
      (answer) => answer.text(),
      () => '', // it does not listen yet
    )
    const count = (name: string) => Number(new RegExp(`^tap_resyncs_${name}_total (\\S+)`, 'm').exec(text)?.[1] ?? 0)
    if (count('failed') > 0) throw new Error('tap could not sync a repo')
    if (count('completed') === repos) return
    await sleep(pollMs)
  }
  throw new Error(`tap was not done after ${runMs} ms`)
}
