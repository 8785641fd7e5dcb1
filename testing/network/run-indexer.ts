// Runs the indexer as its users do, `./indexer run`, as a process of its own, and tells how it ended.
import { spawn } from 'node:child_process'
import { join } from 'node:path'

export interface RunResult {
  readonly exitCode: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  readonly ms: number
}

export interface RunningIndexer {
  readonly pid: number
  readonly ended: Promise<RunResult>
}

export const launcher = join(import.meta.dirname, '../../indexer')
const maxOutputChars = 2_000_000

export interface RunIndexerOptions {
  readonly env?: Readonly<Record<string, string>>
  /** A command that runs the one that follows it, such as `unshare --mount`. */
  readonly within?: readonly string[]
}

/** Without waiting. The process leads its own group, as a shell's job does. */
export function startIndexer(
  args: readonly string[],
  { env = {}, within = [] }: RunIndexerOptions = {},
): RunningIndexer {
  const startedMs = performance.now()
  const [command = launcher, ...rest] = [...within, launcher, ...args]
  const child = spawn(command, rest, {
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, NODE_OPTIONS: '', ...env },
  })
  const output = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      output[name] = (output[name] + text).slice(-maxOutputChars)
    })
  }
  // In a group of its own it would outlive a test that is stopped.
  const killWithUs = () => child.kill('SIGKILL')
  process.once('exit', killWithUs)
  const ended = new Promise<RunResult>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (exitCode, signal) => {
      process.off('exit', killWithUs)
      resolve({ exitCode, signal, ...output, ms: Math.round(performance.now() - startedMs) })
    })
  })
  if (child.pid === undefined) throw new Error(`${launcher} could not be started`)
  return { pid: child.pid, ended }
}

export const runIndexer = (args: readonly string[], options?: RunIndexerOptions): Promise<RunResult> =>
  startIndexer(args, options).ended
