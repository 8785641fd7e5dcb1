// Lists the repos of a source into `repos`, page by page; a page and its cursor are committed together (invariant I2).
// Input: a source; output: rows in `repos` that wait. The surprise: a host may answer the same page for ever, so pages
// are bounded and a cursor that comes round again ends the pass.
import { CursorWatch } from './cursor-watch.ts'
import { IndexerError } from './errors.ts'
import { type ListedRepo, listRepos, type Page } from './fetch-pages.ts'
import type { FetchContext } from './fetch-xrpc.ts'
import type { Log } from './log.ts'
import { type RetryPolicy, withRetries } from './retry-policy.ts'
import type { State } from './state.ts'

/**
 * Every entry of a page is in `repos` once the page is committed, so a pass that has listed more entries than there are
 * repos repeats itself, whatever its cursors say. The slack is for repos that come twice because they moved in the list.
 */
const maxEntries = (discovered: number): number => 1.5 * discovered + 10_000
const pagesBetweenChecks = 50
/** Empty pages in a row, each with a new cursor, after which nothing more is expected. */
const maxEmptyPages = 100
const pageLimit = 1000

/** Something that lists repos in pages. */
export interface Source {
  /** Key of its cursor in `sources`; the same name goes on where the last run stopped. */
  name: string
  page(cursor: string | undefined): Promise<Page<ListedRepo>>
}

export interface DiscoverContext {
  state: State
  log: Log
  retry: RetryPolicy
  signal: AbortSignal
  /** Called after each committed page. */
  onPage: () => void
}

export function relaySource(relay: string, context: FetchContext): Source {
  return {
    name: `relay ${relay}`,
    page: (cursor) => listRepos({ host: relay, limit: pageLimit, cursor }, context),
  }
}

/**
 * Reads `source` to its end. A pass that was interrupted goes on at its cursor; one that was finished begins anew, which
 * finds new repos and those whose rev moved. Throws the coded error of a source that stays unreachable.
 */
export async function discover(source: Source, context: DiscoverContext): Promise<void> {
  const { state, log, signal } = context
  const before = await state.readSource(source.name)
  const watch = new CursorWatch()
  let cursor = before.finishedAt ? undefined : before.cursor
  let emptyPages = 0
  let entries = 0
  for (let pages = 1; ; pages++) {
    signal.throwIfAborted()
    const page = await withRetries(() => source.page(cursor), context.retry, {
      signal,
      onRetry: (err, delayMs) => log.warn({ err, source: source.name, delayMs }, 'listing failed, will be tried again'),
    })
    if (page.refused > 0)
      log.warn({ source: source.name, entries: page.refused }, 'malformed entries of a listing were left out')
    emptyPages = page.rows.length === 0 ? emptyPages + 1 : 0
    const repeats = page.cursor !== undefined && watch.repeats(page.cursor)
    if (repeats)
      log.warn({ source: source.name, cursor: page.cursor }, 'the listing repeats itself; its pass ends here')
    const finished = page.cursor === undefined || repeats || emptyPages >= maxEmptyPages
    await state.commitPage({ source: source.name, cursor: page.cursor ?? cursor, repos: page.rows, finished })
    context.onPage()
    if (finished) return
    cursor = page.cursor
    entries += page.rows.length
    if (pages % pagesBetweenChecks !== 0) continue
    const { discovered } = await state.readBalance()
    if (entries <= maxEntries(discovered)) continue
    const message = `${source.name} has listed ${entries} entries for ${discovered} repos, and goes on`
    throw new IndexerError('ListingEndless', message, { details: { source: source.name, entries, discovered } })
  }
}
