// MANY repos: runs the stages discover, resolve and fetch side by side until nothing is left that could become due.
// Input: an open database and a configuration; output: rows, and a state for every repo. The surprise: stages share nothing
// but the database, so any of them can be killed at any point and goes on from what was committed.
import { setTimeout as sleep } from 'node:timers/promises'
import { type DiscoverContext, discover, type Source } from './discover.ts'
import { errorClass } from './errors.ts'
import { type FetchContext, fetchRepos } from './fetch-repos.ts'
import { type ResolveContext, resolveBatch } from './resolve-repos.ts'
import type { State } from './state.ts'

const idleMs = 500

export interface CrawlContext {
  state: State
  sources: readonly Source[]
  discover: Omit<DiscoverContext, 'signal'>
  resolve: Omit<ResolveContext, 'signal'>
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
  let resolved = false

  const listing = (async () => {
    for (const source of context.sources) {
      try {
        await discover(source, { ...context.discover, signal })
      } catch (error) {
        if (signal.aborted || (errorClass(error) ?? 'stop-run') === 'stop-run') throw error
        context.discover.log.error({ err: error, source: source.name }, 'the listing could not be read to its end')
        progress.unlisted.push({ source: source.name, error })
      }
    }
    progress.discovered = true
  })()

  const resolving = (async () => {
    for (;;) {
      const listed = progress.discovered
      if ((await resolveBatch({ ...context.resolve, signal })) > 0) continue
      if (listed && !(await context.state.unresolvedLeft())) break
      await sleep(idleMs, undefined, { signal })
    }
    resolved = true
  })()

  const moreToCome = async (): Promise<boolean> => {
    const wasResolved = resolved
    return !wasResolved || (await context.state.fetchesLeft())
  }
  const fetching = fetchRepos({ ...context.fetch, signal, moreToCome })

  const stages = [listing, resolving, fetching]
  try {
    await Promise.all(stages)
  } finally {
    stop.abort(new Error('another stage has failed'))
    await Promise.allSettled(stages)
  }
}
