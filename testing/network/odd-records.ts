// Records that a real PDS stores and an indexer trips over: odd text, odd dates, wrong types, long keys, large numbers,
// lexicons nobody knows. Values are in the JSON form of the atproto data model.
import { tidFromMicros } from 'repo-stream/fixtures'

interface OddRecord {
  readonly key: string
  readonly value: Readonly<Record<string, unknown>>
}

const createdAt = '2024-03-01T12:00:00.000Z'
const someCid = 'bafyreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku'

const texts: readonly string[] = [
  'before\u0000after',
  '\u0000',
  '',
  'tab\tnewline\ncarriage return\r backslash \\ \\N \\x00 quote " \' end',
  '👩🏽‍👩🏽‍👧🏽‍👦🏽 🏳️‍🌈 🇺🇳 #️⃣',
  'שלום עולם مرحبا \u202eright to left\u202c',
  'Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳͂̌̌͘!͖̬̰̙̗̿̋ͥͥ̂ͣ̐́́͜͞',
  '\ufffd replacement, \ufeff byte order mark, \u2028 line separator, \u0085 next line',
  '\\ud800 is only spelled out',
  'lone \ud800 surrogates \udc00, which the PDS turns into U+FFFD',
  'non-characters \uffff \u{10ffff}',
  'ẛ̣ is not normalised, nor is \u0041\u030a',
  'x'.repeat(3000),
  '長'.repeat(9000),
]

const dates: readonly unknown[] = [
  '2024-03-01T12:00:00Z',
  '2024-03-01T12:00:00.123456789Z',
  '2024-03-01T12:00:00.1+05:45',
  '1969-12-31T23:59:59.999Z',
  '0001-01-01T00:00:00Z',
  '0000-01-01T00:00:00Z',
  '9999-12-31T23:59:59.999Z',
  '+275760-09-13T00:00:00.000Z',
  '2024-02-30T00:00:00Z',
  '2023-02-29T00:00:00Z',
  '2024-03-01T24:00:00Z',
  '2024-03-01T23:59:60Z',
  '2024-03-01',
  'now',
  'infinity',
  '',
  12,
  null,
  { nested: true },
]

const posts: readonly Readonly<Record<string, unknown>>[] = [
  ...texts.map((text) => ({ text, createdAt })),
  ...dates.map((date) => ({ text: `created at ${JSON.stringify(date)}`, createdAt: date })),
  {},
  { text: 12, createdAt },
  { text: null, createdAt },
  { text: ['a', 'list'], createdAt },
  { text: 'langs', langs: ['en', 'nul\u0000', '', 'pt-BR'], createdAt },
  { text: 'langs that are no list', langs: 'en', createdAt },
  { text: 'langs of the wrong kind', langs: ['en', 5, null], createdAt },
  { text: 'reply without cids', reply: { root: { uri: 'at://x' }, parent: 'no object' }, createdAt },
  { text: 'a whole number', number: 9007199254740991, negative: -9007199254740991, createdAt },
  { text: 'deep', deep: deep(60), createdAt },
  { text: 'bytes', data: { $bytes: 'AAECAwQFBgcICQ' }, createdAt },
  { text: 'a link', link: { $link: someCid }, createdAt },
  { text: 'keys', '': 'empty', 'k\u0000': 'nul', 'k\ud800': 'surrogate', ключ: 'other script', __proto: 1, createdAt },
]

const subject = { uri: `at://did:plc:ewvi7nxzyoun6zhxrhs64oiz/app.bsky.feed.post/3jt5mdyzwtc2w`, cid: someCid }

const others: readonly (readonly [key: string, value: Readonly<Record<string, unknown>>])[] = [
  ['app.bsky.feed.like/no-subject', { createdAt }],
  ['app.bsky.feed.like/subject-is-text', { subject: 'at://nowhere', createdAt }],
  ['app.bsky.feed.like/cid-is-no-cid', { subject: { ...subject, cid: 'not a cid' }, createdAt }],
  ['app.bsky.feed.like/uri-with-nul', { subject: { ...subject, uri: `${subject.uri}\u0000` }, createdAt }],
  ['app.bsky.feed.like/more-fields', { subject, createdAt, via: subject, extra: [1, 2, { three: 4 }] }],
  ['app.bsky.graph.follow/self', { subject: 'did:web:example.com', createdAt }],
  ['app.bsky.graph.follow/no-did', { subject: 'somebody.example.com', createdAt }],
  ['app.bsky.graph.follow/subject-is-number', { subject: 7, createdAt }],
  [`app.bsky.graph.block/${'k'.repeat(512)}`, { subject: 'did:web:example.com', createdAt }],
  ['app.bsky.graph.block/a.b_c~d:e-f', { subject: 'did:web:example.com', createdAt }],
  ['net.example.Unknown.thing/self', { anything: { goes: ['here', { $link: someCid }] } }],
  ['net.example.Unknown.thing/text', { text: 'nul \u0000 in a lexicon nobody knows' }],
]

/** `blob`: the JSON form of an uploaded blob. */
export function oddRecords(blob: unknown): OddRecord[] {
  return [
    ...posts.map((value, index) => {
      const key = `app.bsky.feed.post/${tidFromMicros(Date.UTC(2024, 2, 1) * 1000 + index, 0)}`
      return { key, value: { $type: 'app.bsky.feed.post', ...value } }
    }),
    ...others.map(([key, value]) => ({ key, value: { $type: key.slice(0, key.indexOf('/')), ...value } })),
    {
      key: 'app.bsky.actor.profile/self',
      value: { $type: 'app.bsky.actor.profile', displayName: 'Odd\u0000 one', avatar: blob, banner: blob },
    },
  ]
}

function deep(levels: number): unknown {
  let value: unknown = 'bottom'
  for (let level = 0; level < levels; level++) value = level % 2 === 0 ? [value] : { inner: value }
  return value
}
