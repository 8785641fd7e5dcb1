// MANY repos: runs the stages discover, resolve and fetch side by side until nothing is left that could become due.
// Input: an open database and a configuration; output: rows, and a state for every repo. The surprise: stages share nothing
// but the database, so any of them can be killed at any point and goes on from what was committed. Of several processes one has
// each listing, and one resolves; all of them fetch.
import { askUnlisted, type UnlistedContext } from './ask-unlisted.ts'
import { type DecideContext, decideHosts } from './decide-hosts.ts'
import type { DiscoverContext, Source, SourceProgress } from './discover.ts'
import type { HostsSource } from './discover-hosts.ts'
import { errorClass, IndexerError } from './errors.ts'
import { type FetchContext, fetchRepos } from './fetch-repos.ts'
import { withLease } from './leases.ts'
import { discoverOnce } from './listing-owner.ts'
import { type ResolveContext, resolveRepos } from './resolve-repos.ts'
import type { State } from './state.ts'
import { News } from './wakeup.ts'

export interface CrawlContext {
  state: State
  sources: readonly (Source | HostsSource)[]
  discover: Omit<DiscoverContext, 'state' | 'signal' | 'progress'>
  decide: Omit<DecideContext, 'signal' | 'moreToCome'>
  ask: Omit<UnlistedContext, 'signal' | 'moreToCome'>
  resolve: Omit<ResolveContext, 'signal' | 'moreToCome' | 'listed' | 'resolved'>
  fetch: Omit<FetchContext, 'signal' | 'moreToCome' | 'resolved' | 'onFailure'>
  /** Aborting ends the crawl in order: nothing new is begun, what is finished is written, claims are given back. */
  signal: AbortSignal
  /** Makes `signal` abort: a stage that fails ends the others, their downloads and their waits. */
  stop: AbortController
}

export interface CrawlProgress {
  /** False while a source is still being listed. */
  discovered: boolean
  sources: SourceProgress[]
  /** Sources that could not be read to their end, with their coded errors. */
  unlisted: { source: string; error: unknown }[]
}

/** Ends when every repo is done, gone or failed. Throws what stops a run; the reason of `signal` when that aborts. */
export async function crawl(context: CrawlContext, progress: CrawlProgress): Promise<void> {
  const { signal, stop } = context
  const listed = new News()
  const resolved = new News()
  const onPage: DiscoverContext['onPage'] = (outcome) => {
    context.discover.onPage(outcome)
    listed.tell()
  }
  const listingContext = { ...context, discover: { ...context.discover, onPage } }
  const listings = context.sources.map((source) => listSource(source, listingContext, progress))
  const listing = Promise.all(listings).then(() => {
    progress.discovered = true
    listed.tell()
  })

  let allResolved = false
  const moreToResolve = async (): Promise<boolean> => {
    const listed = progress.discovered
    return !listed || (await context.state.unresolvedLeft())
  }
  const placers: Promise<void>[] = []
  const placing = withLease(context.state, { name: 'resolve', signal }, async (signal) => {
    const moreToCome = () => !progress.discovered
    const deciding = decideHosts({ ...context.decide, signal, moreToCome })
    const asking = askUnlisted({ ...context.ask, signal, moreToCome })
    const resolving = resolveRepos({ ...context.resolve, signal, listed, resolved, moreToCome: moreToResolve })
    placers.push(deciding, asking, resolving)
    await Promise.all([deciding, asking, resolving])
  }).then(() => {
    allResolved = true
    resolved.tell()
  })

  const moreToFetch = async (): Promise<boolean> => {
    const wasResolved = allResolved
    return !wasResolved || (await context.state.fetchesLeft())
  }
  const onFailure = (error: unknown): void => stop.abort(error)
  const fetching = fetchRepos({ ...context.fetch, signal, resolved, moreToCome: moreToFetch, onFailure })

  const stages = [listing, placing, fetching]
  try {
    await Promise.all(stages)
  } catch (error) {
    stop.abort(error)
    await Promise.allSettled([...stages, ...listings, ...placers])
    throw stop.signal.reason // the first failure: stages that it has stopped may have been heard of before
  }
}

/** A source that cannot be read to its end costs the others nothing. */
async function listSource(
  source: Source | HostsSource,
  context: CrawlContext,
  { sources, unlisted }: CrawlProgress,
): Promise<void> {
  const { signal } = context
  const progress: SourceProgress = { name: source.name, listed: 0, refused: 0 }
  sources.push(progress)
  const discoverContext = { ...context.discover, state: context.state, signal, progress }
  try {
    await discoverOnce(source, discoverContext)
    if (!('relay' in source) && source.isComplete && progress.refused > 0)
      throw new IndexerError('HandleNotFound', `${progress.refused} of ${source.name} name no account`)
  } catch (err) {
    if (signal.aborted || (errorClass(err) ?? 'stop-run') === 'stop-run') throw err
    context.discover.log.error({ err, source: source.name }, 'the listing could not be read to its end')
    unlisted.push({ source: source.name, error: err })
  }
}
