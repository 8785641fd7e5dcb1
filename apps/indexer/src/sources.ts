// From the options to what is listed: relay, hosts, collections, files, and the accounts named as arguments. Pure but for what the
// sources do when they are asked for a page.
import type { Source } from './discover.ts'
import { type HostsSource, hostSource } from './discover-hosts.ts'
import { IndexerError } from './errors.ts'
import { listRepos, listReposByCollection } from './fetch-pages.ts'
import type { FetchContext } from './fetch-xrpc.ts'
import type { Options } from './options.ts'
import { argumentSource, fileSource, type NamesContext } from './source-names.ts'
import { parseSource, type SourceSpec } from './source-spec.ts'

/** What a collection directory gives at most; a relay or PDS would refuse more than 1,000. */
const collectionPageLimit = 10_000
const pageLimit = 1000

export interface SourcesContext extends NamesContext {
  options: Pick<Options, 'relay' | 'source' | 'collectionDirectory'>
  /** Accounts named as arguments. */
  names: readonly string[]
}

/** Throws `BadUsage` for a server that no request would be sent to, however often the run is started. */
export function checkServers(
  options: Pick<Options, 'relay' | 'source' | 'collectionDirectory' | 'plc' | 'allowPrivateHosts'>,
): void {
  if (options.allowPrivateHosts) return
  const { relay, collectionDirectory = relay, plc, source } = options
  const hosts = source.map(parseSource).flatMap((spec) => (spec.kind === 'host' ? spec.origin : []))
  const plain = [relay, collectionDirectory, ...plc, ...hosts].find((url) => !url.startsWith('https:'))
  if (plain === undefined) return
  const message = `${plain} is no https: --allow-private-hosts permits http, for a network of your own`
  throw new IndexerError('BadUsage', message, { details: { url: plain } })
}

/** Each source once, however often it was named. */
export function createSources(context: SourcesContext): (Source | HostsSource)[] {
  const { options, names } = context
  const specs = options.source.map(parseSource)
  const origins = new Set(specs.flatMap((spec) => (spec.kind === 'host' ? spec.origin : [])))
  const sources = specs.map((spec) => createSource(spec, origins, context))
  if (names.length > 0) sources.push(argumentSource(names, context))
  return [...new Map(sources.map((source) => [source.name, source])).values()]
}

function createSource(spec: SourceSpec, except: ReadonlySet<string>, context: SourcesContext): Source | HostsSource {
  const { fetch } = context
  const { relay, collectionDirectory = relay } = context.options
  switch (spec.kind) {
    case 'relay':
      return relaySource(relay, fetch)
    case 'hosts':
      return { name: `hosts of ${relay}`, relay, fetch, except }
    case 'host':
      return hostSource(spec.origin, fetch)
    case 'collection':
      return collectionSource(collectionDirectory, spec.nsid, fetch)
    case 'file':
      return fileSource(spec.path, context)
  }
}

function relaySource(relay: string, fetch: FetchContext): Source {
  return {
    name: `relay ${relay}`,
    hasEverybody: true,
    page: (cursor) => listRepos({ host: relay, limit: pageLimit, cursor }, fetch),
  }
}

/** It names accounts alone: a directory knows neither revs nor who is active now. */
function collectionSource(host: string, collection: string, fetch: FetchContext): Source {
  return {
    name: `collection ${collection} of ${host}`,
    async page(cursor) {
      const page = await listReposByCollection({ host, collection, limit: collectionPageLimit, cursor }, fetch)
      return { ...page, rows: page.rows.map(({ did }) => ({ did, active: undefined })) }
    },
  }
}
