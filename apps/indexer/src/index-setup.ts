// What the threads of a crawl get at their start, and how many there may be: options in, an `IndexSetup` out.
import { availableParallelism } from 'node:os'
import { resolve } from 'node:path'
import type { Config } from './config.ts'
import type { HttpLimits } from './http-limits.ts'
import type { IndexSetup } from './index-messages.ts'
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
