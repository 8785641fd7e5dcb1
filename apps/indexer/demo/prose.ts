// Words for the demo's posts and profiles: a random stream in, short texts out, about a dozen topics that searches can
// find, in a few languages, with hashtags, emoji and now and then a long one.
import type { Random } from 'repo-stream/fixtures'

export interface Prose {
  readonly text: string
  readonly language: string
  readonly hashtag: string | undefined
}

interface Topic {
  readonly tag: string
  readonly things: readonly string[]
}

const topics: readonly Topic[] = [
  { tag: 'gardening', things: ['the tomatoes', 'my compost', 'a row of beans', 'the old pear tree', 'this seed swap'] },
  { tag: 'baking', things: ['the sourdough', 'a rye loaf', 'cardamom buns', 'grandmother’s plum cake', 'this oven'] },
  {
    tag: 'cycling',
    things: ['the headwind', 'a new chain', 'the pass above the lake', 'my commute', 'tubeless tyres'],
  },
  {
    tag: 'astronomy',
    things: ['the Perseids', 'Saturn’s rings', 'a borrowed telescope', 'the dark-sky park', 'that comet'],
  },
  {
    tag: 'typescript',
    things: ['a closed union', 'the type checker', 'structural typing', 'a 40-line diff', 'noUncheckedIndexedAccess'],
  },
  { tag: 'postgres', things: ['an index-only scan', 'COPY', 'autovacuum', 'a partial index', 'the query planner'] },
  {
    tag: 'birds',
    things: ['a pair of kestrels', 'the dawn chorus', 'a lost hoopoe', 'the swifts', 'an owl in the barn'],
  },
  { tag: 'chess', things: ['the endgame', 'a quiet bishop move', 'the Caro-Kann', 'my clock', 'a stalemate'] },
  {
    tag: 'knitting',
    things: ['the second sock', 'undyed wool', 'a cable pattern', 'a dropped stitch', 'the mended elbow'],
  },
  {
    tag: 'atproto',
    things: ['the firehose', 'my own PDS', 'a Merkle search tree', 'the relay', 'account portability'],
  },
]

const openers = [
  'Today',
  'Finally',
  'Nobody told me',
  'Still thinking about',
  'In praise of',
  'Small victory:',
  'Question about',
  'Overheard:',
]
const closers = [
  'was worth the wait.',
  'made my week.',
  'again, and I am not sorry.',
  'is harder than it looks.',
  'deserves better documentation.',
  'taught me patience.',
]
const emoji = ['🌱', '🍞', '🚲', '🔭', '🐘', '🦉', '♟️', '🧶', '🦋', '👩🏽‍🌾', '🏳️‍🌈']

/** The same in other tongues: sort orders, bidirectional text and CJK are part of any real network. */
const elsewhere: ReadonlyArray<readonly [language: string, text: string]> = [
  ['ja', '朝の散歩でカワセミを見かけた。'],
  ['de', 'Die Äpfel sind reif, und die Säge klemmt – wie jedes Jahr.'],
  ['pt', 'Pão quente, café forte e uma janela aberta.'],
  ['ar', 'قهوة الصباح وكتاب قديم'],
  ['ko', '오늘은 자전거를 타고 강까지 갔다.'],
]

export function writeProse(random: Random): Prose {
  if (random.chance(0.12)) {
    const [language, text] = random.pick(elsewhere)
    return { text, language, hashtag: undefined }
  }
  const topic = random.pick(topics)
  const sentences = random.chance(0.1) ? 2 + random.below(3) : 1
  let text = Array.from({ length: sentences }, () => sentence(random, topic)).join(' ')
  if (random.chance(0.25)) text += ` ${random.pick(emoji)}`
  const hashtag = random.chance(0.35) ? topic.tag : undefined
  if (hashtag !== undefined) text += ` #${hashtag}`
  return { text, language: 'en', hashtag }
}

const sentence = (random: Random, topic: Topic) =>
  `${random.pick(openers)} ${random.pick(topic.things)} ${random.pick(closers)}`

/** A line about a person or a list. */
export function writeBio(random: Random): string {
  const [one, other] = [random.pick(topics).tag, random.pick(topics).tag]
  return one === other ? `Mostly ${one}.` : `${one} by day, ${other} by night ${random.pick(emoji)}`
}
