// Posts of the demo network, each by itself: account and ordinal in, the post out, so that a like, a reply or a quote
// can name another account's post by its real CID without that account's repo being built. Chains are short by rule.
import {
  cidOf,
  cidText,
  createRandom,
  encodeRecord,
  type Random,
  randomBlobLink,
  tidFromMicros,
} from 'repo-stream/fixtures'
import { type DemoAccount, epochMs, lastMs, type Population } from './population.ts'
import { writeProse } from './prose.ts'

export interface DemoRecord {
  readonly key: string
  readonly value: Readonly<Record<string, unknown>>
}

export interface Post extends DemoRecord {
  readonly timeMs: number
}

export interface FoundPost {
  readonly author: DemoAccount
  readonly post: Post
}

interface StrongRef {
  readonly uri: string
  readonly cid: string
}

/** Every third post of an account may be a reply; replies answer posts that are not, so there is no chain to follow. */
const mayReply = (ordinal: number) => ordinal % 3 === 2

const postSpanMs = lastMs - epochMs - 90 * 86_400_000

function postTimeMs(account: DemoAccount, ordinal: number): number {
  const step = postSpanMs / (account.counts['app.bsky.feed.post'] + 1)
  return Math.floor(epochMs + step * (ordinal + 1) + ((account.index * 7919) % 3_600_000))
}

const postKey = (account: DemoAccount, ordinal: number) =>
  `app.bsky.feed.post/${tidFromMicros(postTimeMs(account, ordinal) * 1000 + (ordinal % 1000), account.index & 1023)}`

export function postOf(account: DemoAccount, ordinal: number, population: Population): Post {
  const random = createRandom(`demo post ${population.options.seed}:${account.index}:${ordinal}`)
  const prose = writeProse(random)
  const timeMs = postTimeMs(account, ordinal)
  const parent =
    mayReply(ordinal) && random.chance(0.8) ? somePost(random, population, { repliesToo: false }) : undefined
  const root = parent && refTo(parent.author, parent.post)
  const value = {
    $type: 'app.bsky.feed.post',
    text: prose.text,
    langs: [prose.language],
    ...(prose.hashtag ? { facets: [tagFacet(prose.text, prose.hashtag)] } : {}),
    ...(root ? { reply: { root, parent: root } } : {}),
    ...embedOf(random, population, ordinal),
    createdAt: iso(Math.max(timeMs, parent ? parent.post.timeMs + 60_000 : 0)),
  }
  return { key: postKey(account, ordinal), value, timeMs }
}

function tagFacet(text: string, tag: string): unknown {
  const byteStart = Buffer.byteLength(text.slice(0, text.lastIndexOf(`#${tag}`)))
  return {
    index: { byteStart, byteEnd: byteStart + Buffer.byteLength(tag) + 1 },
    features: [{ $type: 'app.bsky.richtext.facet#tag', tag }],
  }
}

function embedOf(random: Random, population: Population, ordinal: number): { embed?: unknown } {
  if (mayReply(ordinal)) return {}
  const roll = random.fraction()
  if (roll < 0.12) {
    const aspectRatio = { width: 1600, height: 900 + random.below(900) }
    const images = [{ alt: 'A photograph', image: blob(random, 'image/jpeg'), aspectRatio }]
    return { embed: { $type: 'app.bsky.embed.images', images } }
  }
  if (roll < 0.2) {
    const external = { uri: `https://example.com/articles/${random.below(500)}`, title: 'A long read', description: '' }
    return { embed: { $type: 'app.bsky.embed.external', external } }
  }
  // Only posts with an odd number quote, and only even ones are quoted: again no chain.
  const quoted =
    roll < 0.26 && ordinal % 2 === 1 ? somePost(random, population, { repliesToo: false, even: true }) : undefined
  return quoted ? { embed: { $type: 'app.bsky.embed.record', record: refTo(quoted.author, quoted.post) } } : {}
}

/** A post of anybody: a few accounts, and the early posts of each, get most of the attention. */
export function somePost(
  random: Random,
  population: Population,
  kind: { repliesToo: boolean; even?: boolean },
): FoundPost | undefined {
  for (let attempt = 0; attempt < 8; attempt++) {
    const author = someone(random, population)
    const count = author?.counts['app.bsky.feed.post'] ?? 0
    let ordinal = Math.floor(count * random.fraction() ** 2)
    if (kind.even)
      ordinal -= ordinal % 6 // even and no reply
    else if (!kind.repliesToo && mayReply(ordinal)) ordinal -= 1
    if (author && count > 0) return { author, post: postOf(author, ordinal, population) }
  }
  return undefined
}

/** An account; a few are met far more often than others. */
export function someone(random: Random, { accounts }: Population): DemoAccount | undefined {
  const rank = Math.floor(accounts.length * random.fraction() ** 2)
  return accounts[(rank * 7919 + 3) % accounts.length]
}

/** A strong reference by AT-URI and CID. */
export const refTo = (author: DemoAccount, record: DemoRecord): StrongRef => ({
  uri: `at://${author.did}/${record.key}`,
  cid: cidText(cidOf(encodeRecord(record.value))),
})

export const blob = (random: Random, mimeType: string) => ({
  $type: 'blob',
  ref: randomBlobLink(random),
  mimeType,
  size: 20_000 + random.below(900_000),
})

export const iso = (ms: number) => new Date(ms).toISOString()
