// The whole network host by host: a relay's listHosts, then each host's own listRepos, many at a time. Input: a relay; output: rows
// in `repos`. Reaches accounts that the relay leaves out. Each host has a cursor of its own, so a pass that was interrupted goes on
// host by host; a host that cannot be listed is left to the next run. Hosts are strangers: what they list is bounded.
import { CursorWatch } from './cursor-watch.ts'
import { readOrigin } from './did-document.ts'
import type { DiscoverContext, Source } from './discover.ts'
import { errorClass, IndexerError } from './errors.ts'
import { type ListedHost, listHosts, listRepos } from './fetch-pages.ts'
import type { FetchContext } from './fetch-xrpc.ts'
import { withRetries } from './retry-policy.ts'
import { isLoopbackName } from './safe-address.ts'
import { Slots } from './write-slots.ts'

export interface HostsSource {
  name: string
  relay: string
  fetch: FetchContext
  /** Hosts that are sources by themselves in this run. */
  except: ReadonlySet<string>
}

export interface HostsContext extends DiscoverContext {
  /** Lists one host, or waits until the process that lists it has: it may be a source by itself there. */
  discoverHost: (source: Source, context: DiscoverContext) => Promise<void>
}

const pageLimit = 1000
/** The network has some thousands; a relay that names more than this is left there. */
const maxHosts = 50_000
/** Pages that name nobody new, after which a relay is taken to repeat itself, whatever its cursors say. */
const maxStalePages = 100
/** Listed at the same time: each goes at its own pace, and most wait for theirs. A page of each is 300 KB at most. */
const hostsAtOnce = 64
/** Pages that are written at the same time: connections are for the rows of repos as well. */
const commitsAtOnce = 2
/** Many hosts are dead, and each would keep a place for minutes. */
const maxAttempts = 3
/** Relays know fewer accounts than there are, yet not that much fewer: so many rows a liar costs in a run. */
const maxEntries = (accounts: number): number => 2 * accounts + 10_000
/** Failures told one by one; those of the others are in the sum. */
const maxTold = 20

export function hostSource(origin: string, fetch: FetchContext): Source {
  return {
    name: `host ${origin}`,
    host: origin,
    hasEverybody: true,
    page: (cursor) => listRepos({ host: origin, limit: pageLimit, cursor }, fetch),
  }
}

/** Throws when the relay cannot say which hosts there are (`ListingEndless`: after those that it named are listed), or what stops a run. */
export async function discoverHosts(source: HostsSource, context: HostsContext): Promise<void> {
  const { state, log, progress } = context
  await state.readSource(source.name)
  const pass = { source: source.name, cursor: undefined, repos: [] }
  await state.commitPage({ ...pass, finished: false }) // a pass begins, or the one that was interrupted goes on
  const { sources: known, isEndless } = await readHosts(source, context)
  const names = known.map(({ name }) => name)
  const finished = await state.finishedSources(names, source.name)
  const hosts = { listed: finished.size, unreachable: 0, known: known.length }
  progress.hosts = hosts
  const left = known.filter(({ name }) => !finished.has(name))
  const codes = await listEach(left, hosts, context)
  await state.commitPage({ ...pass, finished: true })
  if (hosts.unreachable > 0)
    log.warn({ source: source.name, ...hosts, codes }, 'hosts could not be listed; the next run tries again')
  if (!isEndless) return
  const message = `${source.relay} names the same ${known.length} hosts again and again`
  throw new IndexerError('ListingEndless', message, { details: { source: source.name, hosts: known.length } })
}

/** Those with the most accounts first, for they take longest. */
async function readHosts(
  source: HostsSource,
  { retry, signal, log }: DiscoverContext,
): Promise<{ sources: Source[]; isEndless: boolean }> {
  const { relay, fetch, except } = source
  const accountsOf = new Map<string, number>()
  const watch = new CursorWatch()
  let cursor: string | undefined
  let left = 0
  let stalePages = 0
  do {
    const before = accountsOf.size
    const onRetry = (err: unknown, delayMs: number) =>
      log.warn({ err, source: source.name, delayMs }, 'listing failed, will be tried again')
    const ask = () => listHosts({ host: relay, limit: pageLimit, cursor }, fetch)
    const page = await withRetries(ask, retry, { signal, onRetry })
    for (const host of page.rows) {
      const origin = originOf(host, fetch.http.allowPrivateHosts)
      if (origin === undefined || (accountsOf.size >= maxHosts && !accountsOf.has(origin))) left++
      else if (!except.has(origin))
        accountsOf.set(origin, Math.max(host.accountCount ?? 0, accountsOf.get(origin) ?? 0)) // in two spellings, perhaps
    }
    left += page.refused
    if (accountsOf.size === before) stalePages++
    cursor = page.rows.length === 0 || left > maxHosts ? undefined : page.cursor
  } while (cursor !== undefined && stalePages <= maxStalePages && !watch.repeats(cursor))
  if (left > 0)
    log.warn({ source: source.name, hosts: left }, 'hosts that are banned, or named as none can be, were left out')
  const sources = [...accountsOf]
    .sort(([, a], [, b]) => b - a)
    .map(([origin, accounts]) => ({ ...hostSource(origin, fetch), maxEntries: maxEntries(accounts) }))
  return { sources, isEndless: stalePages > maxStalePages }
}

/** Relays take names without a port from strangers; a port would let them point us at services that are no hosts. */
export function originOf({ hostname, status }: ListedHost, allowPrivateHosts: boolean): string | undefined {
  if (status === 'banned') return undefined
  const isLocal = allowPrivateHosts && isLoopbackName(hostname.replace(/:\d+$/, ''))
  const origin = readOrigin(`${isLocal ? 'http' : 'https'}://${hostname}`, allowPrivateHosts)
  const isName = /^https:\/\/[^:]+\.[a-z][a-z0-9-]*$/.test(origin ?? '') // no address, no port, no name of the local network
  return isName || allowPrivateHosts ? origin : undefined
}

/** Counts in `hosts` what becomes of each; gives the failures by code. */
async function listEach(
  sources: readonly Source[],
  hosts: NonNullable<DiscoverContext['progress']['hosts']>,
  context: HostsContext,
): Promise<Record<string, number>> {
  const { state, log, retry, discoverHost } = context
  const stop = new AbortController()
  const signal = AbortSignal.any([context.signal, stop.signal])
  const quiet = (values: object, message: string) => log.debug(values, message) // thousands of hosts, half of them dead
  const commits = new Slots(commitsAtOnce)
  const ofHost: DiscoverContext = {
    ...context,
    signal,
    state: { ...state, commitPage: (page) => commits.run(() => state.commitPage(page)) },
    retry: { ...retry, maxAttempts: Math.min(maxAttempts, retry.maxAttempts) },
    log: { debug: quiet, warn: quiet, error: quiet },
  }
  const codes: Record<string, number> = {}
  const list = async (source: Source): Promise<void> => {
    try {
      await discoverHost(source, ofHost)
      hosts.listed++
    } catch (err) {
      if (signal.aborted || (errorClass(err) ?? 'stop-run') === 'stop-run') throw err
      const { code } = err as { code: string }
      codes[code] = (codes[code] ?? 0) + 1
      if (++hosts.unreachable <= maxTold) log.warn({ err, source: source.name }, 'a host could not be listed')
    }
  }
  const slots = new Slots(hostsAtOnce)
  const lists = sources.map((source) => slots.run(() => list(source)))
  try {
    await Promise.all(lists)
  } finally {
    stop.abort(new Error('the listing of another host stops the run'))
    await Promise.allSettled(lists)
  }
  return codes
}
