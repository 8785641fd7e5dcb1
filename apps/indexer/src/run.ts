// The verb `run`: opens everything that a crawl needs, in order, crawls, and closes it in the reverse order.
// Input: options; output: the summary of what the database holds now and the exit code.
import { access, constants } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join, resolve } from 'node:path'
import { removeStaleSpills } from 'repo-stream'
import { adviseExport } from './advise-export.ts'
import { openArchive, removeArchived } from './archive.ts'
import { type Config, loadConfig } from './config.ts'
import { type CrawlContext, type CrawlProgress, crawl } from './crawl.ts'
import type { Database } from './database.ts'
import { insist } from './database-transact.ts'
import { reposForHandles } from './file-handles.ts'
import { finish } from './finish.ts'
import { showIndexes } from './finish-verb.ts'
import { createHosts, type Hosts, unpacedHosts } from './hosts.ts'
import { keepHosts } from './hosts-memory.ts'
import { otherTurns } from './hosts-turns.ts'
import { type Http, openHttp } from './http.ts'
import type { HttpLimits } from './http-limits.ts'
import { type IndexPool, openIndexPool } from './index-pool.ts'
import { withLease } from './leases.ts'
import { type LocalDirectory, openLocalDirectory } from './local-directory.ts'
import type { Log } from './log.ts'
import { MemoryBudget } from './memory-budget.ts'
import { openCrawlDatabase } from './open-database.ts'
import type { Options } from './options.ts'
import { outdateRepos } from './outdate.ts'
import { refetchCost } from './outdate-estimate.ts'
import { duration, renderSummary, type Summary } from './progress.ts'
import type { ProgressLine } from './progress-line.ts'
import { createResolver } from './resolve.ts'
import { createHandleResolver, type HandleOptions } from './resolve-handle.ts'
import type { RetryPolicy } from './retry-policy.ts'
import { RunMetrics } from './run-metrics.ts'
import { showProgress, summarize } from './run-status.ts'
import { confirmSchema } from './schema.ts'
import { checkNames } from './source-names.ts'
import { checkServers, createSources } from './sources.ts'
import { openState, type State } from './state.ts'
import { version } from './version.ts'
import { openWriter, type Writer } from './write.ts'

/** Rows of one repo past this go to Postgres while the repo is walked, in a transaction of its own. */
export const largeRepoBytes = 8 * 1024 * 1024
/** "More than 20 MB is already called large"; such downloads sit in a lane of their own, not in their host's slots. */
export const hugeBytes = 32 * 1024 * 1024
/** More threads than this give Postgres more than one server takes. */
const maxThreads = 8

export function defaultThreads(): number {
  return Math.max(1, Math.min(availableParallelism() - 1, maxThreads))
}

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
  checkNames(options.names ?? [])
  checkServers(options)
  const config = await loadConfig({ path: options.config, collections: options.collections })
  const spillDir = spillFolder(options)
  await removeStaleSpills(spillDir)
  await access(spillDir, constants.W_OK) // else every large repo would fail, hours from now
  const archive = options.archive
  if (archive !== undefined) await openArchive(archive)
  await using opened = await openCrawlDatabase(options, { config, log: io.log })
  const { database } = opened
  const { contact, allowPrivateHosts } = options
  await using http = openHttp({ version, contact, allowPrivateHosts, limits: io.httpLimits ?? {} })
  const state = await openState(database, {
    egress: options.egress,
    deadAfterMs: options.deadAfter * 1000,
    log: io.log,
  })
  const onRemove = archive === undefined ? undefined : (dids: string[]) => removeArchived(archive, dids)
  const writer = openWriter({ database, config, process: () => state.process, onRemove })
  const parts = {
    config,
    database,
    spillDir,
    http,
    state,
    writer,
    metrics: new RunMetrics(),
    budget: new MemoryBudget(options.memory),
    spills: new MemoryBudget(options.spillLimit),
    progress: { discovered: false, sources: [], unlisted: [] } satisfies CrawlProgress as CrawlProgress,
  }
  try {
    await confirmSchema(database, config)
    for (const change of await outdateRepos(database, { config, process: state.process, signal: io.signal })) {
      if (change.repos > 0)
        io.log.info({ ...change }, 'the config has changed: repos are stale and will be fetched again')
    }
    const cost = await refetchCost(database)
    if (cost.repos > 0) {
      io.log.info({ ...cost, takes: duration(cost.ms) }, 'to fetch again for the config, at the rate that hosts allow')
    }
    await crawlShown(options, parts, io)
    await writer.settleGone(options.inactive)
    // The first full pass ends with the indexes that would have slowed it down.
    if (parts.progress.unlisted.length === 0) {
      await finishOnce(parts, io)
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

/** One process builds the indexes; the others wait, and one takes over should it die. */
async function finishOnce({ database, config, state }: Parts, io: RunIo): Promise<void> {
  const onProgress = showIndexes(io)
  await withLease(state, { name: 'finish', signal: io.signal }, (signal) =>
    insist(() => finish(database, { config, signal, onProgress }), { signal }),
  )
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
  spills: MemoryBudget
  progress: CrawlProgress
}

async function crawlShown(options: RunOptions, parts: Parts, io: RunIo): Promise<void> {
  const maxInFlight = reposForHandles(options.concurrency)
  if (maxInFlight < options.concurrency)
    io.log.warn({ maxInFlight }, 'the system permits few open files (ulimit -n): fewer repos are fetched at a time')
  const hosts = createHosts({
    now: Date.now,
    maxInFlight,
    hostConcurrency: options.hostConcurrency,
    limits: options.allowPrivateHosts ? unpacedHosts : undefined,
  })
  const { database, http, state } = parts
  await using memory = await keepHosts(hosts, database)
  const plcUrl = options.plcExport ? options.plc[0] : undefined
  await using directory = plcUrl ? openLocalDirectory({ database, state, http, plcUrl, log: io.log }) : undefined
  const stop = new AbortController()
  const crawlIo = { ...io, hosts, signal: AbortSignal.any([io.signal, stop.signal]) }
  await using pool = startPool(options, parts, crawlIo)
  await using _display = showProgress(parts, io)
  await crawl(
    { ...assemble(options, parts, { ...crawlIo, pool, directory, saveHosts: memory.save }), stop },
    parts.progress,
  )
  const { repos, rows, elapsedMs: ms } = parts.metrics
  const unlisted = parts.progress.unlisted.length
  if (unlisted === 0) io.log.info({ repos, rows, ms }, 'crawl complete')
  else io.log.warn({ repos, rows, ms, unlisted }, 'crawled, but sources were not read to their end')
}

function startPool(
  options: Options,
  parts: Parts,
  { hosts, httpLimits = {}, signal }: RunIo & { hosts: Hosts },
): IndexPool {
  const { config, spillDir, writer, metrics, budget, spills } = parts
  const { contact, allowPrivateHosts, plc, repoMemory, verify, archive } = options
  return openIndexPool({
    threads: options.threads ?? defaultThreads(),
    setup: {
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

interface CrawlIo extends RunIo {
  hosts: Hosts
  pool: IndexPool
  directory: LocalDirectory | undefined
  saveHosts: () => Promise<void>
}

function assemble(options: RunOptions, parts: Parts, io: CrawlIo): Omit<CrawlContext, 'stop'> {
  const { log, signal, hosts, pool, directory, saveHosts } = io
  const { http, state, writer, metrics, budget, spills } = parts
  const retry: RetryPolicy = { baseDelayMs: options.retryDelay * 1000, maxAttempts: options.maxAttempts }
  const resolver = createResolver({ http, plcUrls: options.plc, local: directory })
  const sources = createSources({
    options,
    names: options.names ?? [],
    fetch: { http, signal, onResponse: hosts.seen, turn: otherTurns(hosts, signal) },
    resolveHandle: createHandleResolver(http, io.handles),
    resolver,
    state,
    retry,
    log,
    signal,
  })
  return {
    state,
    sources,
    discover: {
      log,
      retry,
      trustHosts: options.verify === 'structure',
      onPage: adviseExport(options, log),
    },
    decide: { state, resolver, log, concurrency: options.resolveConcurrency },
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
      spills,
      resolver,
      indexRepo: pool.indexRepo,
      saveHosts,
      flush: writer.flush,
    },
    signal,
  }
}

function exitCodeOf(summary: Summary, progress: CrawlProgress, options: Options): RunOutcome['exitCode'] {
  if (summary.interrupted || progress.unlisted.length > 0) return 75
  return options.maxFailed !== undefined && summary.balance.failed > options.maxFailed ? 3 : 0
}
