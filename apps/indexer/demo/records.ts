// The records of one demo account: an account in, its (key, value) pairs out. They refer to each other across accounts
// by real AT-URI and CID (posts.ts).
import { createRandom, type Random, tidFromMicros } from 'repo-stream/fixtures'
import { type Collection, type DemoAccount, epochMs, lastMs, type Population } from './population.ts'
import { blob, type DemoRecord, iso, type Post, postOf, refTo, someone, somePost } from './posts.ts'
import { writeBio, writeProse } from './prose.ts'

/** In the order of collections and times, not of keys. */
export function* recordsOf(account: DemoAccount, population: Population): Generator<DemoRecord> {
  const writer: Writer = {
    account,
    population,
    random: createRandom(`demo records ${population.options.seed}:${account.index}`),
    used: new Set(),
  }
  for (const [collection, write] of writers) {
    for (let ordinal = 0; ordinal < account.counts[collection]; ordinal++) {
      const record = write(writer, ordinal, collection)
      if (record !== undefined) yield record
    }
  }
}

interface Writer {
  readonly account: DemoAccount
  readonly population: Population
  readonly random: Random
  /** Keys that are taken; also `follow <did>` for accounts that are followed already. */
  readonly used: Set<string>
}

type WriteRecord = (writer: Writer, ordinal: number, collection: Collection) => DemoRecord | undefined

const writers: ReadonlyArray<readonly [Collection, WriteRecord]> = [
  ['app.bsky.actor.profile', profile],
  ['app.bsky.feed.post', ({ account, population }, ordinal) => postOf(account, ordinal, population)],
  ['app.bsky.feed.like', onPost],
  ['app.bsky.feed.repost', onPost],
  ['app.bsky.graph.follow', onAccount],
  ['app.bsky.graph.block', onAccount],
  ['app.bsky.graph.list', list],
  ['app.bsky.graph.listitem', listItem],
  ['app.bsky.graph.listblock', listBlock],
  ['app.bsky.graph.starterpack', starterPack],
  ['app.bsky.feed.generator', generator],
  ['app.bsky.feed.threadgate', threadgate],
  ['app.bsky.feed.postgate', postgate],
  ['garden.demo.plant.sighting', sighting],
]

function profile({ account, population, random }: Writer): DemoRecord {
  const name = (account.handle.split('.')[0] ?? '')
    .split('-')
    .map((part) => part.charAt(0).toUpperCase() + part.slice(1))
  return {
    key: 'app.bsky.actor.profile/self',
    value: {
      $type: 'app.bsky.actor.profile',
      displayName: name.join(' '),
      description: writeBio(random),
      ...(random.chance(0.7) ? { avatar: blob(random, 'image/jpeg') } : {}),
      ...(account.counts['app.bsky.feed.post'] > 2 && random.chance(0.1)
        ? { pinnedPost: refTo(account, postOf(account, 0, population)) }
        : {}),
      createdAt: iso(account.createdMs),
    },
  }
}

function onPost(writer: Writer, _ordinal: number, collection: Collection): DemoRecord | undefined {
  const found = somePost(writer.random, writer.population, { repliesToo: true })
  if (!found) return undefined
  const timeMs = found.post.timeMs + 60_000 + writer.random.below(80 * 86_400_000)
  return {
    key: newKey(writer, collection, timeMs),
    value: { $type: collection, subject: refTo(found.author, found.post), createdAt: iso(timeMs) },
  }
}

function onAccount(writer: Writer, _ordinal: number, collection: Collection): DemoRecord | undefined {
  const subject = someone(writer.random, writer.population)
  const taken = `${collection} ${subject?.did}`
  if (!subject || subject.index === writer.account.index || writer.used.has(taken)) return undefined
  writer.used.add(taken)
  const timeMs = someTimeMs(writer)
  return {
    key: newKey(writer, collection, timeMs),
    value: { $type: collection, subject: subject.did, createdAt: iso(timeMs) },
  }
}

const purposes = ['app.bsky.graph.defs#curatelist', 'app.bsky.graph.defs#modlist'] as const

const listKey = (account: DemoAccount, ordinal: number) =>
  `app.bsky.graph.list/${tidFromMicros((account.createdMs + 86_400_000 * (ordinal + 1)) * 1000, account.index & 1023)}`

function list({ account, random }: Writer, ordinal: number): DemoRecord {
  const value = {
    $type: 'app.bsky.graph.list',
    name: `People who know ${writeProse(random).hashtag ?? 'things'}`,
    purpose: random.pick(purposes),
    description: writeBio(random),
    createdAt: iso(account.createdMs + 86_400_000 * (ordinal + 1)),
  }
  return { key: listKey(account, ordinal), value }
}

const ownList = ({ account, random }: Writer) =>
  `at://${account.did}/${listKey(account, random.below(account.counts['app.bsky.graph.list']))}`

function listItem(writer: Writer): DemoRecord | undefined {
  const subject = someone(writer.random, writer.population)
  if (!subject) return undefined
  const timeMs = someTimeMs(writer)
  return {
    key: newKey(writer, 'app.bsky.graph.listitem', timeMs),
    value: { $type: 'app.bsky.graph.listitem', subject: subject.did, list: ownList(writer), createdAt: iso(timeMs) },
  }
}

function listBlock(writer: Writer): DemoRecord | undefined {
  const owner = someone(writer.random, writer.population)
  if (!owner) return undefined
  const timeMs = someTimeMs(writer)
  return {
    key: newKey(writer, 'app.bsky.graph.listblock', timeMs),
    value: {
      $type: 'app.bsky.graph.listblock',
      subject: `at://${owner.did}/${listKey(owner, 0)}`,
      createdAt: iso(timeMs),
    },
  }
}

function starterPack(writer: Writer): DemoRecord {
  const timeMs = someTimeMs(writer)
  return {
    key: newKey(writer, 'app.bsky.graph.starterpack', timeMs),
    value: {
      $type: 'app.bsky.graph.starterpack',
      name: `New here? Try ${writeProse(writer.random).hashtag ?? 'everything'}`,
      list: ownList(writer),
      createdAt: iso(timeMs),
    },
  }
}

function generator({ account, random, population }: Writer): DemoRecord {
  const name = writeProse(random).hashtag ?? 'quiet'
  return {
    key: `app.bsky.feed.generator/${name}`,
    value: {
      $type: 'app.bsky.feed.generator',
      did: `did:web:feeds${population.options.seed}.demo.test`,
      displayName: `The ${name} feed`,
      description: writeBio(random),
      createdAt: iso(account.createdMs + 3_600_000),
    },
  }
}

/** Gates stand under the rkey of the post they are for. */
function gatedPost({ account, population, used }: Writer, ordinal: number, collection: Collection): Post | undefined {
  if (ordinal >= account.counts['app.bsky.feed.post']) return undefined
  const post = postOf(account, ordinal, population)
  used.add(`${collection}/${post.key}`)
  return post
}

function threadgate(writer: Writer, ordinal: number, collection: Collection): DemoRecord | undefined {
  const post = gatedPost(writer, ordinal, collection)
  if (!post) return undefined
  const rkey = post.key.slice(post.key.indexOf('/') + 1)
  const allow = writer.random.chance(0.5) ? [{ $type: 'app.bsky.feed.threadgate#followingRule' }] : []
  const value = {
    $type: collection,
    post: `at://${writer.account.did}/${post.key}`,
    allow,
    createdAt: iso(post.timeMs),
  }
  return { key: `${collection}/${rkey}`, value }
}

function postgate(writer: Writer, ordinal: number, collection: Collection): DemoRecord | undefined {
  const post = gatedPost(writer, ordinal, collection)
  if (!post) return undefined
  const rkey = post.key.slice(post.key.indexOf('/') + 1)
  const embeddingRules = [{ $type: 'app.bsky.feed.postgate#disableRule' }]
  const value = {
    $type: collection,
    post: `at://${writer.account.did}/${post.key}`,
    embeddingRules,
    createdAt: iso(post.timeMs),
  }
  return { key: `${collection}/${rkey}`, value }
}

const plants = ['Galanthus nivalis', 'Primula veris', 'Tilia cordata', 'Malus sylvestris', 'Urtica dioica'] as const

/** A lexicon that no indexer has heard of: such collections must be easy to add. */
function sighting(writer: Writer): DemoRecord {
  const { random } = writer
  const timeMs = someTimeMs(writer)
  return {
    key: newKey(writer, 'garden.demo.plant.sighting', timeMs),
    value: {
      $type: 'garden.demo.plant.sighting',
      plant: random.pick(plants),
      count: 1 + random.below(40),
      inBloom: random.chance(0.5),
      place: { latitudeE6: 45_000_000 + random.below(9_000_000), longitudeE6: 5_000_000 + random.below(10_000_000) },
      seenAt: iso(timeMs),
    },
  }
}

function newKey({ account, used }: Writer, collection: Collection, timeMs: number): string {
  let micros = timeMs * 1000
  for (;;) {
    const key = `${collection}/${tidFromMicros(micros, account.index & 1023)}`
    if (!used.has(key)) {
      used.add(key)
      return key
    }
    micros++
  }
}

const someTimeMs = ({ random }: Writer) => epochMs + random.below((lastMs - epochMs) / 1000) * 1000
