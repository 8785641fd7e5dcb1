// The processes of a bench: one for each side, asked in turn, so that no side runs in the heap or the compiler's memory of
// another and slow minutes of the machine hit all alike.
import { type ChildProcessByStdio, execFileSync, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { workDir } from './cars.ts'
import type { SideAnswer } from './side.ts'

export interface RunningSide {
  readonly name: string
  readonly pid: number
  /** Waits until it has loaded, and walked what it warms up with. */
  ready(): Promise<void>
  /** Walks `times` times. */
  run(times: number): Promise<SideAnswer>
  /** Waits for the end of its process, so that it does not run against the next. */
  stop(): Promise<void>
}

/** Starts a side on CARs: the one to measure and perhaps one to warm up with. `crate ...` sides are the Rust peer. */
export function startSide(name: string, ...paths: string[]): RunningSide {
  const child = start(name, paths)
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const ask = async (times: number): Promise<string> => {
    child.stdin.write(`run ${times}\n`)
    const { value, done } = await lines.next()
    if (done) throw new Error(`the side "${name}" ended; its message is above`)
    return value
  }
  return {
    name,
    pid: child.pid ?? 0,
    async ready() {
      await ask(0)
    },
    run: async (times) => readAnswer(JSON.parse(await ask(times))),
    stop() {
      child.stdin.end()
      return ended
    },
  }
}

function start(name: string, paths: readonly string[]): ChildProcessByStdio<Writable, Readable, null> {
  const [path = ''] = paths
  if (name.startsWith('crate ')) return startPeer(name.slice(6), path)
  if (name !== 'spill ours') return startNode(name, paths)
  const script = join(import.meta.dirname, 'spill-ours.js')
  return spawn(process.execPath, [script, path, workDir], { stdio: ['pipe', 'pipe', 'inherit'] })
}

/** Brings `dist` up to date, which our spilled side runs from. */
export function buildPackage(): void {
  const compiler = join(findPackageJSON('typescript', import.meta.url) ?? '', '../bin/tsc')
  execFileSync(process.execPath, [compiler, '-p', join(import.meta.dirname, '../tsconfig.build.json')], {
    stdio: 'inherit',
  })
}

function readAnswer(value: Partial<SideAnswer>): SideAnswer {
  const { ms, cpuMs, records, bytes, peakRssMiB } = value
  if (ms === undefined || cpuMs === undefined || records === undefined || bytes === undefined) {
    throw new TypeError('a side answered without its numbers')
  }
  return { ms, cpuMs, records, bytes, peakRssMiB: peakRssMiB ?? 0 }
}

/** They hold an object or more for every block, which at 450 MiB is more than Node's own limit. */
const largeHeaps = new Set([
  'atcute memory',
  'atcute stream',
  'cold atcute memory',
  'cold atcute stream',
  'atproto repo',
])

function startNode(name: string, paths: readonly string[]): ChildProcessByStdio<Writable, Readable, null> {
  const flags = ['--conditions=workspace-source']
  if (largeHeaps.has(name)) flags.push('--max-old-space-size=12288')
  const script = join(import.meta.dirname, 'side.ts')
  return spawn(process.execPath, [...flags, script, name, ...paths], { stdio: ['pipe', 'pipe', 'inherit'] })
}

const peerDir = join(import.meta.dirname, 'peers/repo-stream-crate')
const targetDir = join(workDir, 'target')
const peerBinary = join(targetDir, 'release/repo-stream-crate-peer')

function startPeer(mode: string, path: string): ChildProcessByStdio<Writable, Readable, null> {
  const spill = join(workDir, `crate-spill-${process.pid}`)
  return spawn(peerBinary, [path, mode, spill], { stdio: ['pipe', 'pipe', 'inherit'] })
}

/** Builds the Rust peer where cargo is at hand; the reason when it cannot be had. */
export async function buildPeer(): Promise<string | undefined> {
  const build = spawn('cargo', ['build', '--release', '--locked', '--quiet', '--target-dir', targetDir], {
    cwd: peerDir,
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  const ended = await new Promise<string | undefined>((resolve) => {
    build.once('error', () => resolve('cargo is not installed'))
    build.once('exit', (code) => resolve(code === 0 ? undefined : `cargo build ended with ${code}`))
  })
  return existsSync(peerBinary) ? ended : (ended ?? 'cargo built no binary')
}
