// MANY repos: runs the stages discover, resolve and fetch side by side until nothing is left that could become due.
// Input: an open database and a configuration; output: rows, and a state for every repo. The surprise: stages share nothing
// but the database, so any of them can be killed at any point and goes on from what was committed. Of several processes one has
// each listing, and one resolves; all of them fetch.
import type { DiscoverContext, Source } from './discover.ts'
import { errorClass } from './errors.ts'
import { type FetchContext, fetchRepos } from './fetch-repos.ts'
import { withLease } from './leases.ts'
import { discoverOnce } from './listing-owner.ts'
import { type ResolveContext, resolveRepos } from './resolve-repos.ts'
import type { State } from './state.ts'

export interface CrawlContext {
  state: State
  sources: readonly Source[]
  discover: Omit<DiscoverContext, 'signal'>
  resolve: Omit<ResolveContext, 'signal' | 'moreToCome'>
  fetch: Omit<FetchContext, 'signal' | 'moreToCome'>
  /** Aborting ends the crawl in order: nothing new is begun, what is finished is written, claims are given back. */
  signal: AbortSignal
}

export interface CrawlProgress {
  /** False while a source is still being listed. */
  discovered: boolean
  /** Sources that could not be read to their end, with their coded errors. */
  unlisted: { source: string; error: unknown }[]
}

/** Ends when every repo is done, gone or failed. Throws what stops a run; the reason of `signal` when that aborts. */
export async function crawl(context: CrawlContext, progress: CrawlProgress): Promise<void> {
  const stop = new AbortController()
  const signal = AbortSignal.any([context.signal, stop.signal])
  const listing = (async () => {
    for (const source of context.sources) {
      try {
        await discoverOnce(source, { ...context.discover, signal })
      } catch (error) {
        if (signal.aborted || (errorClass(error) ?? 'stop-run') === 'stop-run') throw error
        context.discover.log.error({ err: error, source: source.name }, 'the listing could not be read to its end')
        progress.unlisted.push({ source: source.name, error })
      }
    }
    progress.discovered = true
  })()

  let resolved = false
  const moreToResolve = async (): Promise<boolean> => {
    const listed = progress.discovered
    return !listed || (await context.state.unresolvedLeft())
  }
  const resolving = withLease(context.state, { name: 'resolve', signal }, (signal) =>
    resolveRepos({ ...context.resolve, signal, moreToCome: moreToResolve }),
  ).then(() => {
    resolved = true
  })

  const moreToFetch = async (): Promise<boolean> => {
    const wasResolved = resolved
    return !wasResolved || (await context.state.fetchesLeft())
  }
  const fetching = fetchRepos({ ...context.fetch, signal, moreToCome: moreToFetch })

  const stages = [listing, resolving, fetching]
  try {
    await Promise.all(stages)
  } finally {
    stop.abort(new Error('another stage has failed'))
    await Promise.allSettled(stages)
  }
}
