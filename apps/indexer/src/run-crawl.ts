// What `run` does once its first thread has started: opens everything that a crawl needs, in order, crawls, and closes it in the
// reverse order. Input: options; output: the summary of what the database holds now and the exit code.
import { access, constants } from 'node:fs/promises'
import type { Worker } from 'node:worker_threads'
import { removeStaleSpills } from 'repo-stream'
import { adviseExport } from './advise-export.ts'
import { openArchive, removeArchived } from './archive.ts'
import { type CrawlContext, type CrawlProgress, crawl } from './crawl.ts'
import { type Database, migrate } from './database.ts'
import { insist } from './database-transact.ts'
import { isInterruption } from './errors.ts'
import { reposForHandles } from './file-handles.ts'
import { finish } from './finish.ts'
import { showIndexes } from './finish-verb.ts'
import { createHosts, type Hosts } from './hosts.ts'
import { unpacedHosts } from './hosts-limits.ts'
import { keepHosts } from './hosts-memory.ts'
import { otherTurns } from './hosts-turns.ts'
import { type Http, openHttp } from './http.ts'
import type { IndexSetup } from './index-messages.ts'
import { type IndexPool, openIndexPool } from './index-pool.ts'
import { defaultThreads, type Shared } from './index-setup.ts'
import { withLease } from './leases.ts'
import { type LocalDirectory, openLocalDirectory } from './local-directory.ts'
import { openCrawlDatabase } from './open-database.ts'
import type { Options } from './options.ts'
import { outdateRepos } from './outdate.ts'
import { refetchCost } from './outdate-estimate.ts'
import { duration, renderSummary, type Summary } from './progress.ts'
import { createResolver } from './resolve.ts'
import { createHandleResolver } from './resolve-handle.ts'
import type { RetryPolicy } from './retry-policy.ts'
import type { RunIo, RunOptions, RunOutcome } from './run.ts'
import { RunMetrics } from './run-metrics.ts'
import { showProgress, summarize } from './run-status.ts'
import { confirmSchema } from './schema.ts'
import { checkNames } from './source-names.ts'
import { checkServers, createSources } from './sources.ts'
import { openState, type State } from './state.ts'
import { steadyNow } from './steady-clock.ts'
import { version } from './version.ts'
import { limitsWithin, openWriter, type Writer } from './write.ts'

interface Started extends Shared {
  setup: IndexSetup
  /** The first that indexes. */
  thread: Worker
}

export async function runCrawl(options: RunOptions, started: Started, io: RunIo): Promise<RunOutcome> {
  const { config, spillDir } = started
  checkNames(options.names ?? [])
  checkServers(options)
  await removeStaleSpills(spillDir)
  await access(spillDir, constants.W_OK) // else every large repo would fail, hours from now
  const archive = options.archive
  if (archive !== undefined) await openArchive(archive)
  await using opened = await openCrawlDatabase(options, { config, log: io.log })
  const { database } = opened
  const { contact, allowPrivateHosts } = options
  await using http = openHttp({ version, contact, allowPrivateHosts, limits: io.httpLimits ?? {} })
  const stop = new AbortController()
  const signal = AbortSignal.any([io.signal, stop.signal])
  const state = await openState(database, {
    egress: options.egress,
    deadAfterMs: options.deadAfter * 1000,
    log: io.log,
    // Stopped for so long, it may find a database that others have changed meanwhile.
    confirm: async () => {
      await migrate(database)
      await confirmSchema(database, config)
    },
    onRefused: (error) => stop.abort(error),
  })
  const onRemove = archive === undefined ? undefined : (dids: string[]) => removeArchived(archive, dids)
  const limits = limitsWithin(options.memory)
  const writer = openWriter({ database, config, process: () => state.process, limits, onRemove })
  const parts = {
    ...started,
    database,
    http,
    state,
    writer,
    metrics: new RunMetrics(),
    progress: { discovered: false, sources: [], unlisted: [] } satisfies CrawlProgress as CrawlProgress,
  }
  try {
    await confirmSchema(database, config)
    for (const change of await outdateRepos(database, { config, process: state.process, signal })) {
      if (change.repos > 0)
        io.log.info({ ...change }, 'the config has changed: repos are stale and will be fetched again')
    }
    const cost = await refetchCost(database)
    if (cost.repos > 0) {
      io.log.info({ ...cost, takes: duration(cost.ms) }, 'to fetch again for the config, at the rate that hosts allow')
    }
    await crawlShown(options, parts, { ...io, signal, stop })
    await writer.settleGone(options.inactive)
    // The first full pass ends with the indexes that would have slowed it down.
    if (parts.progress.unlisted.length === 0) {
      await finishOnce(parts, { ...io, signal })
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

interface Parts extends Started {
  database: Database
  http: Http
  state: State
  writer: Writer
  metrics: RunMetrics
  progress: CrawlProgress
}

async function crawlShown(options: RunOptions, parts: Parts, io: RunIo & { stop: AbortController }): Promise<void> {
  const maxInFlight = reposForHandles(options.concurrency)
  if (maxInFlight < options.concurrency)
    io.log.warn({ maxInFlight }, 'the system permits few open files (ulimit -n): fewer repos are fetched at a time')
  const hosts = createHosts({
    now: steadyNow,
    maxInFlight,
    hostConcurrency: options.hostConcurrency,
    limits: options.allowPrivateHosts ? unpacedHosts : undefined,
  })
  const { database, http, state } = parts
  await using memory = await keepHosts(hosts, database)
  const plcUrl = options.plcExport ? options.plc[0] : undefined
  await using directory = plcUrl ? openLocalDirectory({ database, state, http, plcUrl, log: io.log }) : undefined
  const crawlIo = { ...io, hosts }
  await using pool = startPool(options, parts, crawlIo)
  await using _display = showProgress(parts, io)
  await crawl(
    { ...assemble(options, parts, { ...crawlIo, pool, directory, saveHosts: memory.save }), stop: io.stop },
    parts.progress,
  )
  const { repos, rows, elapsedMs: ms } = parts.metrics
  const unlisted = parts.progress.unlisted.length
  if (unlisted === 0) io.log.info({ repos, rows, ms }, 'crawl complete')
  else io.log.warn({ repos, rows, ms, unlisted }, 'crawled, but sources were not read to their end')
}

function startPool(options: Options, parts: Parts, { hosts, signal, log }: RunIo & { hosts: Hosts }): IndexPool {
  const { setup, thread, writer, metrics } = parts
  return openIndexPool({
    threads: options.threads ?? defaultThreads(),
    setup,
    first: thread,
    writer,
    signal,
    onSeen: hosts.seen,
    onFetched: (bytes) => {
      metrics.fetchedBytes += bytes
    },
    onThread: (threads) => {
      metrics.threads = threads
      log.info({ threads }, 'another thread indexes: those before it were busy')
    },
  })
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
  const fetch = { http, signal, ...otherTurns(hosts, { state, signal }) }
  const sources = createSources({
    options,
    names: options.names ?? [],
    fetch,
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
    ask: { state, resolver, fetch, log, retry },
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
