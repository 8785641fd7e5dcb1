// A whole small network on 127.0.0.1: a relay, some PDSs and a PLC directory, over real HTTP, serving signed repos that
// are generated from a seed when they are asked for. Options in, URLs and the accounts out. No part of it needs a disk.
import { cidOf, cidText, type SigningKey } from 'repo-stream/fixtures'
import { createPds } from './pds.ts'
import { createPlc } from './plc.ts'
import { createPopulation, type DemoAccount } from './population.ts'
import type { DemoRecord } from './posts.ts'
import { createRelay } from './relay.ts'
import { createRepos } from './repos.ts'
import { type DemoServer, type Handler, json, startServer } from './server.ts'
import type { DemoWorld } from './world.ts'

export interface DemoNetworkOptions {
  /** The same seed and sizes give the same network. Default 1. */
  readonly seed?: number
  /** Default 500. */
  readonly accounts?: number
  /** Default 3. */
  readonly pdsCount?: number
  /** Records of the median account (default 20), and the deviation of the logarithm of their number (default 1.5). */
  readonly medianRecords?: number
  readonly spread?: number
  /** Default 2 repos of 6,000 records. */
  readonly bigRepos?: { readonly count: number; readonly records: number }
  /** The relay's port; the directory and the PDSs take those that follow. The default, 0, takes free ones. */
  readonly port?: number
  /** Compress for whoever accepts it, as servers do. Default true. */
  readonly gzip?: boolean
  /** Listings name real heads, for which every listed repo is built. Default: up to 2,000 accounts. */
  readonly exactHeads?: boolean
  /** CAR bytes kept after they were served. Default 64 MiB. */
  readonly cacheBytes?: number
  /** The relay's largest page. Default 100, so that a small network has several. */
  readonly relayPageLimit?: number
  /** Put around each server's handler: tests misbehave with it. */
  readonly wrap?: (handler: Handler, role: ServerRole) => Handler
}

export type ServerRole = { readonly kind: 'relay' | 'plc' } | { readonly kind: 'pds'; readonly index: number }

export interface DemoNetwork {
  readonly relayUrl: string
  readonly plcUrl: string
  readonly pdsUrls: readonly string[]
  readonly accounts: readonly DemoAccount[]
  readonly requests: RequestLog
  /** 'relay', 'plc', 'pds 0', 'pds 1'...: to close and reopen them. */
  readonly servers: ReadonlyMap<string, DemoServer>
  /** What the account's repo holds, not in key order. */
  recordsOf(account: DemoAccount): Iterable<DemoRecord>
  /** The key in the account's DID document, which signs its repo. */
  signingKey(account: DemoAccount): SigningKey
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** What was asked of all servers. A separate process serves it as JSON at the relay's `/_requests`. */
export interface RequestLog {
  readonly byMethod: Map<string, number>
  /** getRepo requests to a PDS for each DID. */
  readonly getRepo: Map<string, number>
}

export async function startDemoNetwork(options: DemoNetworkOptions = {}): Promise<DemoNetwork> {
  const { gzip = true, wrap = (handler) => handler } = options
  const population = createPopulation({
    seed: options.seed ?? 1,
    accounts: options.accounts ?? 500,
    pdsCount: options.pdsCount ?? 3,
    medianRecords: options.medianRecords ?? 20,
    spread: options.spread ?? 1.5,
    bigRepos: options.bigRepos ?? { count: 2, records: 6000 },
  })
  const pdsUrls: string[] = []
  const world: DemoWorld = {
    population,
    repos: createRepos(population, { cacheBytes: options.cacheBytes ?? 64 * 1024 * 1024 }),
    exactHeads: options.exactHeads ?? population.accounts.length <= 2000,
    placeholderCid: cidText(cidOf(new Uint8Array())),
    relayPageLimit: options.relayPageLimit ?? 100,
    pdsUrls,
    pdsUrl: ({ pds }) => pdsUrls[pds] ?? '',
  }
  const requests: RequestLog = { byMethod: new Map(), getRepo: new Map() }
  const servers = new Map<string, DemoServer>()

  async function serve(handler: Handler, role: ServerRole, port: number): Promise<string> {
    const server = await startServer(counted(wrap(handler, role), role, requests), { port, gzip })
    servers.set(role.kind === 'pds' ? `pds ${role.index}` : role.kind, server)
    return server.url
  }

  const portAt = (offset: number): number => (options.port ? options.port + offset : 0)
  for (let index = 0; index < population.options.pdsCount; index++) {
    pdsUrls.push(await serve(createPds(index, world), { kind: 'pds', index }, portAt(2 + index)))
  }
  const plcUrl = await serve(createPlc(world), { kind: 'plc' }, portAt(1))
  const relayUrl = await serve(createRelay(world), { kind: 'relay' }, portAt(0))
  const close = async () => {
    await Promise.all(Array.from(servers.values(), (server) => server.close()))
  }
  return {
    relayUrl,
    plcUrl,
    pdsUrls,
    accounts: population.accounts,
    requests,
    servers,
    recordsOf: (account) => world.repos.records(account),
    signingKey: (account) => world.repos.signingKey(account),
    close,
    [Symbol.asyncDispose]: close,
  }
}

function counted(handler: Handler, role: ServerRole, requests: RequestLog): Handler {
  return (request) => {
    if (role.kind === 'relay' && request.method === '/_requests') {
      return json(200, {
        byMethod: Object.fromEntries(requests.byMethod),
        getRepo: Object.fromEntries(requests.getRepo),
      })
    }
    const name = `${role.kind} ${request.method.startsWith('/did:') ? '/did' : request.method}`
    increment(requests.byMethod, name)
    const did = request.params.get('did')
    if (role.kind === 'pds' && did !== null && request.method === 'com.atproto.sync.getRepo')
      increment(requests.getRepo, did)
    return handler(request)
  }
}

const increment = (counts: Map<string, number>, name: string) => counts.set(name, (counts.get(name) ?? 0) + 1)
