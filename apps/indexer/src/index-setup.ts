// How threads that index start: what those of a crawl get (options in, an `IndexSetup` out), and how many there may be.
// It loads nothing of what they do, so that the first starts before all else of a run is loaded.
import { once } from 'node:events'
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { Config } from './config.ts'
import type { HttpLimits } from './http-limits.ts'
import type { IndexSetup, ToThread } from './index-messages.ts'
import type { MemoryBudget } from './memory-budget.ts'
import type { Options } from './options.ts'
import { version } from './version.ts'

/** Rows of one repo past this go to Postgres while the repo is walked, in a transaction of its own. */
export const largeRepoBytes = 8 * 1024 * 1024
/** "More than 20 MB is already called large"; such downloads sit in a lane of their own, not in their host's slots. */
export const hugeBytes = 32 * 1024 * 1024
/** More threads than this give Postgres more than one server takes. */
const maxThreads = 8

export function defaultThreads(): number {
  return Math.min(availableParallelism(), maxThreads)
}

/** What threads and the main thread have in common. */
export interface Shared {
  config: Config
  spillDir: string
  budget: MemoryBudget
  spills: MemoryBudget
}

/** Of a crawl. */
export function indexSetup(
  { contact, allowPrivateHosts, plc, repoMemory, verify, archive }: Options,
  { config, spillDir, budget, spills }: Shared,
  { httpLimits = {} }: { httpLimits?: Partial<HttpLimits> },
): IndexSetup {
  return {
    config,
    http: { version, contact, allowPrivateHosts, limits: httpLimits },
    plcUrls: plc,
    budget: { limitBytes: budget.limitBytes, shared: budget.shared },
    repoMemoryBytes: repoMemory,
    largeRepoBytes,
    hugeBytes,
    spillDir,
    spills: { limitBytes: spills.limitBytes, shared: spills.shared },
    verify,
    archive: archive === undefined ? undefined : { dir: resolve(archive), use: 'keep' },
  }
}

/**
 * Three semi-spaces of 16 MiB: a repo under way dies before it is old. With 4 MiB a thread collected four times as often, and V8's
 * helpers cost 107 µs a tiny repo in place of 72 (bench:index-thread). 4 MiB was better while a walk's buffers were left to V8.
 */
const resourceLimits = { maxYoungGenerationSizeMb: 48 }
const threadFile = new URL('./index-thread.ts', import.meta.url)

/** A pool takes it as its first. */
export function startThread(setup: IndexSetup): Worker {
  return new Worker(threadFile, { workerData: setup, name: 'index', resourceLimits })
}

/** In order, also while it still loads: terminated in the middle of a native module it takes the whole process with it. */
export async function endThread(thread: Worker): Promise<void> {
  if (thread.threadId === -1) return // it has ended
  const ended = once(thread, 'exit')
  thread.postMessage([{ kind: 'close' }] satisfies ToThread[])
  await ended
}
