// MANY repos: runs the stages discover, resolve and fetch side by side until nothing is left that could become due.
// Input: an open database and a configuration; output: rows, and a state for every repo. The surprise: stages share nothing
// but the database, so any of them can be killed at any point and goes on from what was committed.
import { type DiscoverContext, discover, type Source } from './discover.ts'
import { errorClass } from './errors.ts'
import { type FetchContext, fetchRepos } from './fetch-repos.ts'
import { type ResolveContext, resolveRepos } from './resolve-repos.ts'
import type { State } from './state.ts'
import { News } from './wakeup.ts'

export interface CrawlContext {
  state: State
  sources: readonly Source[]
  discover: Omit<DiscoverContext, 'signal' | 'onPage'>
  resolve: Omit<ResolveContext, 'signal' | 'moreToCome' | 'listed' | 'resolved'>
  fetch: Omit<FetchContext, 'signal' | 'moreToCome' | 'resolved'>
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
  const listed = new News()
  const resolved = new News()
  const onPage = () => listed.tell()
  const listing = (async () => {
    for (const source of context.sources) {
      try {
        await discover(source, { ...context.discover, signal, onPage })
      } catch (error) {
        if (signal.aborted || (errorClass(error) ?? 'stop-run') === 'stop-run') throw error
        context.discover.log.error({ err: error, source: source.name }, 'the listing could not be read to its end')
        progress.unlisted.push({ source: source.name, error })
      }
    }
    progress.discovered = true
    listed.tell()
  })()

  let allResolved = false
  const moreToResolve = async (): Promise<boolean> => {
    const listed = progress.discovered
    return !listed || (await context.state.unresolvedLeft())
  }
  const resolveContext = { ...context.resolve, signal, listed, resolved, moreToCome: moreToResolve }
  const resolving = resolveRepos(resolveContext).then(() => {
    allResolved = true
    resolved.tell()
  })

  const moreToFetch = async (): Promise<boolean> => {
    const wasResolved = allResolved
    return !wasResolved || (await context.state.fetchesLeft())
  }
  const fetching = fetchRepos({ ...context.fetch, signal, resolved, moreToCome: moreToFetch })

  const stages = [listing, resolving, fetching]
  try {
    await Promise.all(stages)
  } finally {
    stop.abort(new Error('another stage has failed'))
    await Promise.allSettled(stages)
  }
}
