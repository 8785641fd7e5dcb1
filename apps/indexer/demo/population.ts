// Who lives on the demo network: seed and size in, a list of accounts out, each with its host, its status and how many
// records of each collection it has. Nothing is generated yet but the DIDs, so 10^5 accounts cost a fraction of a second.
import { createRandom, makeDid, type Random, tidFromMicros } from 'repo-stream/fixtures'

export const collections = [
  'app.bsky.actor.profile',
  'app.bsky.feed.post',
  'app.bsky.feed.like',
  'app.bsky.feed.repost',
  'app.bsky.graph.follow',
  'app.bsky.graph.block',
  'app.bsky.graph.list',
  'app.bsky.graph.listitem',
  'app.bsky.graph.listblock',
  'app.bsky.graph.starterpack',
  'app.bsky.feed.generator',
  'app.bsky.feed.threadgate',
  'app.bsky.feed.postgate',
  'garden.demo.plant.sighting',
] as const

export type Collection = (typeof collections)[number]

export type AccountStatus = 'active' | 'deactivated' | 'takendown' | 'suspended' | 'deleted'

export interface DemoAccount {
  readonly index: number
  /** The relay's number for it: rising, with gaps. */
  readonly uid: number
  readonly did: string
  readonly handle: string
  /** Index into the network's `pdsUrls`. */
  readonly pds: number
  readonly status: AccountStatus
  /** False: the relay has missed the change of status and still lists the account. */
  readonly relayKnows: boolean
  readonly createdMs: number
  readonly rev: string
  readonly counts: Readonly<Record<Collection, number>>
}

export interface PopulationOptions {
  readonly seed: number
  readonly accounts: number
  readonly pdsCount: number
  /** Records of the median account, and the deviation of the logarithm of that number. */
  readonly medianRecords: number
  readonly spread: number
  readonly bigRepos: { readonly count: number; readonly records: number }
}

export const epochMs = Date.UTC(2024, 0, 1)
export const lastMs = Date.UTC(2025, 5, 1)

export interface Population {
  readonly options: PopulationOptions
  readonly accounts: readonly DemoAccount[]
  byDid(did: string): DemoAccount | undefined
}

export function createPopulation(options: PopulationOptions): Population {
  const accounts = Array.from({ length: options.accounts }, (_, index) => createAccount(index, options))
  const byDid = new Map(accounts.map((account) => [account.did, account]))
  return { options, accounts, byDid: (did) => byDid.get(did) }
}

function createAccount(index: number, options: PopulationOptions): DemoAccount {
  const random = createRandom(`demo account ${options.seed}:${index}`)
  const status = statusOf(index)
  return {
    index,
    uid: index * 3 + 1 + random.below(3),
    did: makeDid(`demo ${options.seed}:${index}`),
    handle: handleOf(index, options.seed),
    pds: index % options.pdsCount,
    status,
    relayKnows: index % 200 >= 100,
    createdMs: epochMs + index * 1000,
    rev: tidFromMicros(lastMs * 1000 + index, random.below(1024)),
    counts: countsOf(recordTotal(index, random, options), random),
  }
}

/** One of each kind in the first hundred accounts and in every hundred after. */
function statusOf(index: number): AccountStatus {
  const place = index % 100
  if (place === 7) return 'deactivated'
  if (place === 11) return 'takendown'
  if (place === 13) return 'deleted'
  if (place === 17 && index >= 100) return 'suspended'
  return 'active'
}

const firstNames =
  'ada ben cleo dara emil fay gus hana ines jun kofi lena milo nora omar pia quin rosa sami tess uma vik wren xena yara zoe'.split(
    ' ',
  )
const secondNames =
  'alder birch cedar dogwood elm fern gorse hazel iris juniper kelp laurel maple nettle oak pine quince rowan sorrel thyme'.split(
    ' ',
  )

function handleOf(index: number, seed: number): string {
  const place = index + (seed % 7)
  const first = firstNames[place % firstNames.length] ?? 'ada'
  const second = secondNames[Math.floor(place / firstNames.length) % secondNames.length] ?? 'alder'
  const round = Math.floor(index / (firstNames.length * secondNames.length))
  return `${first}-${second}${round === 0 ? '' : round}.demo.test`
}

function recordTotal(
  index: number,
  random: Random,
  { accounts, bigRepos, medianRecords, spread }: PopulationOptions,
): number {
  const lognormal = Math.round(medianRecords * Math.exp(spread * normal(random)))
  if (index % 100 === 19) return 0 // an empty repo
  // Big repos are spread over the listing, so that a crawl meets small ones beside each of them.
  const every = Math.max(1, Math.floor(accounts / Math.max(1, bigRepos.count)))
  const isBig = index % every === Math.min(2, every - 1) && Math.floor(index / every) < bigRepos.count
  return isBig ? bigRepos.records : Math.max(1, Math.min(lognormal, medianRecords * 500))
}

const normal = (random: Random) =>
  Math.sqrt(-2 * Math.log(1 - random.fraction())) * Math.cos(2 * Math.PI * random.fraction())

/** Shares of the network's records: likes are the majority, then posts, reposts, follows. */
function countsOf(total: number, random: Random): Record<Collection, number> {
  const rest = Math.max(0, total - 1)
  const part = (share: number) => Math.floor(rest * share + random.fraction())
  const lists = rest >= 20 ? part(0.004) : 0
  const counts: Record<Collection, number> = {
    'app.bsky.actor.profile': total > 0 ? 1 : 0,
    'app.bsky.feed.post': part(0.22),
    'app.bsky.feed.repost': part(0.09),
    'app.bsky.graph.follow': part(0.11),
    'app.bsky.graph.block': part(0.008),
    'app.bsky.graph.list': lists,
    'app.bsky.graph.listitem': lists > 0 ? lists * 3 + random.below(5) : 0,
    'app.bsky.graph.listblock': part(0.001),
    'app.bsky.graph.starterpack': lists > 0 && random.chance(0.4) ? 1 : 0,
    'app.bsky.feed.generator': rest > 40 && random.chance(0.2) ? 1 : 0,
    'app.bsky.feed.threadgate': part(0.004),
    'app.bsky.feed.postgate': part(0.003),
    'garden.demo.plant.sighting': random.chance(0.2) ? part(0.1) : 0,
    'app.bsky.feed.like': 0,
  }
  const others = Object.values(counts).reduce((sum, count) => sum + count, 0)
  return { ...counts, 'app.bsky.feed.like': Math.max(0, total - others) }
}
