// The verb `run`: opens everything that a crawl needs, in order, crawls, and closes it in the reverse order.
// Input: options; output: the summary of what the database holds now and the exit code.
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { removeStaleSpills } from 'repo-stream'
import { type Config, loadConfig } from './config.ts'
import { type CrawlContext, type CrawlProgress, crawl } from './crawl.ts'
import type { Database } from './database.ts'
import { relaySource } from './discover.ts'
import { finish } from './finish.ts'
import { showIndexes } from './finish-verb.ts'
import { createHosts, type Hosts, unpacedHosts } from './hosts.ts'
import { keepHosts } from './hosts-memory.ts'
import { otherTurns } from './hosts-turns.ts'
import { type Http, openHttp } from './http.ts'
import type { HttpLimits } from './http-limits.ts'
import { type IndexPool, openIndexPool } from './index-pool.ts'
import { type LocalDirectory, openLocalDirectory } from './local-directory.ts'
import type { Log } from './log.ts'
import { MemoryBudget } from './memory-budget.ts'
import { openCrawlDatabase } from './open-database.ts'
import type { Options } from './options.ts'
import { outdateRepos } from './outdate.ts'
import { renderSummary, type Summary } from './progress.ts'
import type { ProgressLine } from './progress-line.ts'
import { createResolver } from './resolve.ts'
import type { RetryPolicy } from './retry-policy.ts'
import { RunMetrics } from './run-metrics.ts'
import { showProgress, summarize } from './run-status.ts'
import { openState, type State } from './state.ts'
import { version } from './version.ts'
import { openWriter, type Writer } from './write.ts'

/** Rows of one repo past this go to Postgres while the repo is walked, in a transaction of its own. */
const largeRepoBytes = 8 * 1024 * 1024
/** More threads than this give Postgres more than one server takes. */
const maxThreads = 8

export interface RunIo {
  log: Log
  line: ProgressLine | undefined
  /** Aborting ends the run in order: what is finished is written, claims are given back. */
  signal: AbortSignal
  /** Other than the defaults; tests do not wait half a minute. */
  httpLimits?: Partial<HttpLimits>
}

export interface RunOutcome {
  /** The summary as a page of text, or as a line of JSON with --log-json. */
  output: string
  exitCode: 0 | 3 | 75
}

/** Throws what stops a run, with its code; an interruption is no error, the summary says so. */
export async function run(options: Options, io: RunIo): Promise<RunOutcome> {
  const config = await loadConfig({ path: options.config, collections: options.collections })
  const spillDir = options.spillDir ?? join(options.dataDir, 'spill')
  await removeStaleSpills(spillDir)
  await using opened = await openCrawlDatabase(options, { config, log: io.log })
  const { database } = opened
  const { contact, allowPrivateHosts } = options
  await using http = openHttp({ version, contact, allowPrivateHosts, limits: io.httpLimits ?? {} })
  const state = await openState(database, { log: io.log })
  const writer = openWriter({ database, config, process: () => state.process })
  const parts = {
    config,
    database,
    spillDir,
    http,
    state,
    writer,
    metrics: new RunMetrics(),
    budget: new MemoryBudget(options.memory),
    progress: { discovered: false, unlisted: [] } satisfies CrawlProgress as CrawlProgress,
  }
  try {
    for (const change of await outdateRepos(database, { config, process: state.process, signal: io.signal })) {
      if (change.repos > 0)
        io.log.info({ ...change }, 'the config has changed: repos are stale and will be fetched again')
    }
    await crawlShown(options, parts, io)
    await writer.settleGone(options.inactive)
    // The first full pass ends with the indexes that would have slowed it down.
    if (parts.progress.unlisted.length === 0) {
      await finish(database, { config, signal: io.signal, onProgress: showIndexes(io) })
    }
  } catch (error) {
    if (!isInterruption(error, io.signal)) throw error
  } finally {
    await writer.close()
    await state.end()
  }
  const summary = await summarize(parts, io.signal.aborted)
  const output = options.logJson
    ? `${JSON.stringify({ ...summary, errors: Object.fromEntries(summary.errors) })}\n`
    : renderSummary(summary)
  return { output, exitCode: exitCodeOf(summary, parts.progress, options) }
}

interface Parts {
  config: Config
  database: Database
  spillDir: string
  http: Http
  state: State
  writer: Writer
  metrics: RunMetrics
  budget: MemoryBudget
  progress: CrawlProgress
}

async function crawlShown(options: Options, parts: Parts, io: RunIo): Promise<void> {
  const hosts = createHosts({
    now: Date.now,
    maxInFlight: options.concurrency,
    hostConcurrency: options.hostConcurrency,
    limits: options.allowPrivateHosts ? unpacedHosts : undefined,
  })
  const { database, http, state } = parts
  await using _memory = await keepHosts(hosts, database)
  const plcUrl = options.plcExport ? options.plc[0] : undefined
  await using directory = plcUrl ? openLocalDirectory({ database, state, http, plcUrl, log: io.log }) : undefined
  await using pool = startPool(options, parts, { ...io, hosts })
  await using _display = showProgress(parts, io)
  await crawl(assemble(options, parts, { ...io, hosts, pool, directory }), parts.progress)
  io.log.info({ repos: parts.metrics.repos, rows: parts.metrics.rows, ms: parts.metrics.elapsedMs }, 'crawl complete')
}

function startPool(
  options: Options,
  parts: Parts,
  { hosts, httpLimits = {}, signal }: RunIo & { hosts: Hosts },
): IndexPool {
  const { config, spillDir, writer, metrics, budget } = parts
  const { contact, allowPrivateHosts, plc, repoMemory, spillLimit, verify } = options
  return openIndexPool({
    threads: options.threads ?? Math.max(1, Math.min(availableParallelism() - 1, maxThreads)),
    setup: {
      config,
      http: { version, contact, allowPrivateHosts, limits: httpLimits },
      plcUrls: plc,
      budget: { limitBytes: budget.limitBytes, shared: budget.shared },
      repoMemoryBytes: repoMemory,
      largeRepoBytes,
      spillDir,
      spillLimitBytes: spillLimit,
      verify,
    },
    writer,
    signal,
    onSeen: hosts.seen,
    onFetched: (bytes) => {
      metrics.fetchedBytes += bytes
    },
  })
}

/** Waits end with an AbortError, loops with the signal's own reason. */
function isInterruption(error: unknown, { aborted, reason }: AbortSignal): boolean {
  return aborted && (error === reason || (error instanceof Error && error.name === 'AbortError'))
}

type CrawlIo = RunIo & { hosts: Hosts; pool: IndexPool; directory: LocalDirectory | undefined }

function assemble(options: Options, parts: Parts, { log, signal, hosts, pool, directory }: CrawlIo): CrawlContext {
  const { http, state, writer, metrics, budget } = parts
  const retry: RetryPolicy = { baseDelayMs: options.retryDelay * 1000, maxAttempts: options.maxAttempts }
  const resolver = createResolver({ http, plcUrls: options.plc, local: directory })
  return {
    state,
    sources: [relaySource(options.relay, { http, signal, onResponse: hosts.seen, turn: otherTurns(hosts, signal) })],
    discover: { state, log, retry },
    resolve: {
      state,
      resolver,
      log,
      retry,
      concurrency: options.resolveConcurrency,
      onError: (error) => metrics.failed((error as { code: string }).code),
    },
    fetch: {
      state,
      hosts,
      metrics,
      log,
      retry,
      budget,
      resolver,
      indexRepo: pool.indexRepo,
      flush: writer.flush,
    },
    signal,
  }
}

function exitCodeOf(summary: Summary, progress: CrawlProgress, options: Options): RunOutcome['exitCode'] {
  if (summary.interrupted || progress.unlisted.length > 0) return 75
  return options.maxFailed !== undefined && summary.balance.failed > options.maxFailed ? 3 : 0
}
