// The verb `run`: from the options to the outcome. The first thread that indexes starts before the rest is even loaded
// (run-crawl.ts): it takes as long to load its own code as the main thread takes to load the other and to open the database.
import { join } from 'node:path'
import { loadConfig } from './config.ts'
import type { HttpLimits } from './http-limits.ts'
import { endThread, indexSetup, startThread } from './index-setup.ts'
import type { Log } from './log.ts'
import { MemoryBudget } from './memory-budget.ts'
import type { Options } from './options.ts'
import type { ProgressLine } from './progress-line.ts'
import type { HandleOptions } from './resolve-handle.ts'

/** Where repos that are too large for memory spill. */
export function spillFolder({ spillDir, dataDir }: Pick<Options, 'spillDir' | 'dataDir'>): string {
  return spillDir ?? join(dataDir, 'spill')
}

export interface RunIo {
  log: Log
  line: ProgressLine | undefined
  /** Aborting ends the run in order: what is finished is written, claims are given back. */
  signal: AbortSignal
  /** Other than the defaults; tests do not wait half a minute. */
  httpLimits?: Partial<HttpLimits>
  /** Other than DNS and the domains themselves; tests have no names. */
  handles?: HandleOptions
}

export interface RunOptions extends Options {
  /** Accounts named one by one, beside the sources: DIDs or handles. */
  names?: readonly string[]
}

export interface RunOutcome {
  /** The summary as a page of text, or as a line of JSON with --log-json. */
  output: string
  exitCode: 0 | 3 | 75
}

/** Throws what stops a run, with its code; an interruption is no error, the summary says so. */
export async function run(options: RunOptions, io: RunIo): Promise<RunOutcome> {
  const shared = {
    config: await loadConfig({ path: options.config, collections: options.collections }),
    spillDir: spillFolder(options),
    budget: new MemoryBudget(options.memory),
    spills: new MemoryBudget(options.spillLimit),
  }
  const setup = indexSetup(options, shared, io)
  const thread = startThread(setup)
  try {
    const { runCrawl } = await import('./run-crawl.ts')
    return await runCrawl(options, { ...shared, setup, thread }, io)
  } finally {
    await endThread(thread)
  }
}
