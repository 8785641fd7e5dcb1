// Lists the repos of a source into `repos`, page by page; a page and its cursor are committed together (invariant I2).
// Input: a source; output: rows in `repos` that wait. The surprise: a host may answer the same page for ever, so pages
// are bounded and a cursor that comes round again ends the pass.
import { CursorWatch } from './cursor-watch.ts'
import { IndexerError } from './errors.ts'
import type { Page } from './fetch-pages.ts'
import type { Listed } from './listing.ts'
import { type RetryPolicy, withRetries } from './retry-policy.ts'
import type { State } from './state.ts'
import type { PageOutcome } from './state-discovery.ts'

/**
 * Every entry of a page is in `repos` once the page is committed, so a pass that has listed more entries than there are
 * repos repeats itself, whatever its cursors say. The slack is for repos that come twice because they moved in the list.
 */
const maxEntries = (discovered: number): number => 1.5 * discovered + 10_000
const pagesBetweenChecks = 50
/** Empty pages in a row, each with a new cursor, after which nothing more is expected. */
const maxEmptyPages = 100

/** Something that lists repos in pages. */
export interface Source {
  /** Key of its cursor in `sources`; the same name goes on where the last run stopped. */
  name: string
  /** Of what people write by hand, a digest: its cursor, and that it was listed, count for this version of it alone. */
  version?(): Promise<string>
  page(cursor: string | undefined): Promise<Page<Listed>>
  /** Origin of the host whose own listing this is. */
  host?: string
  /** Entries after which a pass must have ended; default: as many as there can be repos. */
  maxEntries?: number
  /** It has everybody who lives there: who is no longer in it is asked for. */
  hasEverybody?: boolean
  /** An entry that is of no use leaves the source unlisted. */
  isComplete?: boolean
}

/** What is shown of a source while it is listed and at the end. */
export interface SourceProgress {
  name: string
  /** Entries of this run, before deduplication, and those that were of no use. */
  listed: number
  refused: number
  /** Of a source that is many hosts. */
  hosts?: { listed: number; unreachable: number; known: number }
}

export interface DiscoverContext {
  state: Pick<
    State,
    'readSource' | 'commitPage' | 'readBalance' | 'finishedSources' | 'compareSightings' | 'forgetSightings'
  >
  log: Record<'debug' | 'warn' | 'error', (values: object, message: string) => void>
  retry: RetryPolicy
  signal: AbortSignal
  /** Hosts are believed about where their repos are: no signature is checked, so no DID document is needed. */
  trustHosts: boolean
  /** After each page, with what became of it. */
  onPage: (outcome: PageOutcome) => void
  progress: SourceProgress
}

/**
 * Reads `source` to its end. A pass that was interrupted goes on at its cursor; one that was finished begins anew, which
 * finds new repos and those whose rev moved. Throws the coded error of a source that stays unreachable.
 */
export async function discover(source: Source, context: DiscoverContext): Promise<void> {
  const { state, log, signal, progress } = context
  const version = await source.version?.()
  const before = await state.readSource(source.name)
  const watch = new CursorWatch()
  let cursor = before.finishedAt ? undefined : cursorOf(before.cursor, version)
  let emptyPages = 0
  let entries = 0
  for (let pages = 1; ; pages++) {
    signal.throwIfAborted()
    const page = await askPage(source, { cursor, isResumed: pages === 1 && cursor !== undefined }, context)
    if (page.refused > 0)
      log.warn({ source: source.name, entries: page.refused }, 'malformed entries of a listing were left out')
    emptyPages = page.rows.length === 0 ? emptyPages + 1 : 0
    const repeats = page.cursor !== undefined && watch.repeats(page.cursor)
    if (repeats)
      log.warn({ source: source.name, cursor: page.cursor }, 'the listing repeats itself; its pass ends here')
    const finished = page.cursor === undefined || repeats || emptyPages >= maxEmptyPages
    const outcome = await state.commitPage({
      source: source.name,
      cursor: page.unasked ? undefined : withVersion(page.cursor ?? cursor, version),
      repos: page.rows,
      finished,
      isSighting: source.hasEverybody,
      host: source.host,
      hostIsTrusted: context.trustHosts,
    })
    context.onPage(outcome)
    progress.listed += page.rows.length
    progress.refused += page.refused
    if (page.unasked)
      throw new IndexerError('HandleUnasked', `${page.unasked} handles of ${source.name} could not be asked for`, {
        details: { source: source.name, handles: page.unasked },
      })
    if (finished) {
      if (source.hasEverybody) await findMissing(source, page.cursor === undefined, context)
      return
    }
    cursor = page.cursor
    entries += page.rows.length
    await refuseEndless(source, { pages, entries }, context)
  }
}

/** Who was listed in the pass before and is not in this one. A pass that repeats itself has come to no end. */
async function findMissing(source: Source, isWhole: boolean, { state, log }: DiscoverContext): Promise<void> {
  if (!isWhole) return await state.forgetSightings(source.name)
  const missing = await state.compareSightings(source.name, source.host)
  if (missing > 0)
    log.debug({ source: source.name, repos: missing }, 'accounts are not listed any more; their hosts will be asked')
}

/** What of another version was read says nothing of this one: a line may have come before it. */
function cursorOf(text: string | undefined, version: string | undefined): string | undefined {
  if (version === undefined || text === undefined) return text
  const [ofVersion, cursor] = text.split(' ', 2)
  return ofVersion === version && cursor !== '' ? cursor : undefined
}

const withVersion = (cursor: string | undefined, version: string | undefined): string | undefined =>
  version === undefined ? cursor : `${version} ${cursor ?? ''}`

/**
 * A cursor of an earlier run that the source does not know any more begins the pass anew. A relay does not say that it knows it not: built
 * anew, it counts accounts from 1 again, and has none behind an old number. So has one whose pass was killed just before its end: to
 * list that again loses nothing.
 */
async function askPage(
  source: Source,
  { cursor, isResumed }: { cursor: string | undefined; isResumed: boolean },
  { retry, signal, log }: DiscoverContext,
): Promise<Page<Listed>> {
  const onRetry = (err: unknown, delayMs: number) =>
    log.warn({ err, source: source.name, delayMs }, 'listing failed, will be tried again')
  try {
    const page = await withRetries(() => source.page(cursor), retry, { signal, onRetry })
    if (!isResumed || source.version !== undefined || !isEmptyEnd(page)) return page
    log.warn({ source: source.name, cursor }, 'nothing is behind the cursor; the listing begins anew')
  } catch (error) {
    if (!isResumed || !(error instanceof IndexerError) || error.code !== 'XrpcRefused') throw error
    log.warn({ err: error, source: source.name, cursor }, 'the cursor is no longer known; the listing begins anew')
  }
  return await withRetries(() => source.page(undefined), retry, { signal, onRetry })
}

const isEmptyEnd = ({ rows, refused, cursor }: Page<Listed>): boolean =>
  rows.length === 0 && refused === 0 && cursor === undefined

async function refuseEndless(
  source: Source,
  { pages, entries }: { pages: number; entries: number },
  { state }: DiscoverContext,
): Promise<void> {
  if (source.maxEntries === undefined && pages % pagesBetweenChecks !== 0) return
  const most = source.maxEntries ?? maxEntries((await state.readBalance()).discovered)
  if (entries <= most) return
  const message = `${source.name} has listed ${entries} entries, more than the ${Math.floor(most)} it can have, and goes on`
  throw new IndexerError('ListingEndless', message, { details: { source: source.name, entries, most } })
}
