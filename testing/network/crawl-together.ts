// Several indexers on one database, as their users start them: real processes against a fake network, some of which are killed or
// stopped at a named step. In: what befalls each. Out: how each ended; `inspectCrawl` tells whether the crawl is right.
import { readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { StepName } from 'indexer/src/steps.ts'
import type { TestDatabase } from 'indexer/src/testing-database.ts'
import type { FakeNetwork } from './fakes.ts'
import { type RunningIndexer, type RunResult, startIndexer } from './run-indexer.ts'

export interface Member {
  /** Comes so much later than the one before. */
  readonly afterMs?: number
  /** Comes when this is over: what the ones before have come to, however fast the machine is. */
  readonly after?: () => Promise<void>
  readonly killAt?: { step: StepName; times: number; stop?: boolean }
  readonly args?: readonly string[]
}

const runTimeoutMs = 90_000

/** Runs `use` beside them, if it is given; ends all of them with it. */
export async function crawlTogether(
  { network, database }: { network: FakeNetwork; database: TestDatabase },
  members: readonly Member[],
  use: (members: readonly RunningIndexer[]) => Promise<void> = async () => {},
): Promise<RunResult[]> {
  const dataDir = await mkdtemp(join(tmpdir(), 'together-'))
  const running: RunningIndexer[] = []
  const late = setTimeout(() => running.forEach(kill), runTimeoutMs)
  try {
    for (const { afterMs = 0, after, killAt, args = [] } of members) {
      await sleep(afterMs)
      await after?.()
      const env = killAt && { INDEXER_KILL_AT: `${killAt.step}:${killAt.times}:${killAt.stop ? 'stop' : 'indexer'}` }
      running.push(
        startIndexer([...argsFor(network, database, join(dataDir, String(running.length))), ...args], env && { env }),
      )
    }
    await use(running)
    return await Promise.all(running.map(({ ended }) => ended))
  } finally {
    clearTimeout(late)
    running.forEach(kill)
    await rm(dataDir, { recursive: true, force: true })
  }
}

function argsFor({ relayUrl, plcUrl }: FakeNetwork, { url }: TestDatabase, dataDir: string): string[] {
  return [
    ...['run', '--no-live', '--relay', relayUrl, '--plc', plcUrl, '--allow-private-hosts', '--database', url],
    ...['--data-dir', dataDir, '--collections', '*', '--retry-delay', '0.05', '--max-attempts', '30'],
    ...['--threads', '1', '--dead-after', '2', '--log-json', '--log-level', 'info'],
  ]
}

const kill = ({ pid }: RunningIndexer): boolean => signalGroup(pid, 'SIGKILL')

export function signalGroup(pid: number, signal: NodeJS.Signals): boolean {
  try {
    process.kill(-pid, signal)
    return true
  } catch {
    return false
  }
}

/** True once the process has stopped itself; false if it ended before. */
export async function hasStopped({ pid, ended }: RunningIndexer): Promise<boolean> {
  let over = false
  void ended.then(() => {
    over = true
  })
  while (!over) {
    const stat = readStat(pid)
    if (stat.slice(stat.lastIndexOf(')') + 2).startsWith('T')) return true
    await sleep(20)
  }
  return false
}

function readStat(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'latin1')
  } catch {
    return ''
  }
}
