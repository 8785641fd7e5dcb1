// Values and what rows hold of them, for the tests of both ways: the projector's (short-forms.test.ts) and SQL's.

import type { Word } from './short-forms.ts'

const suffix = 'bv6ggog3tya2z3vxsub7hnal'

/** At-uris as [value, stored]. The last ones are what a short form would not give back without its mark. */
export const uriForms: readonly (readonly [string, string])[] = [
  [`at://did:plc:${suffix}/app.bsky.feed.post/3jzfcijpj2z2a`, `${suffix}!3jzfcijpj2z2a`],
  [`at://did:plc:${suffix}/app.bsky.feed.repost/3jzfcijpj2z2a`, `${suffix}"3jzfcijpj2z2a`],
  [`at://did:plc:${suffix}/app.bsky.graph.list/3jzfcijpj2z2a`, `${suffix}#3jzfcijpj2z2a`],
  [`at://did:plc:${suffix}/app.bsky.feed.generator/discover`, `${suffix}/app.bsky.feed.generator/discover`],
  ['at://did:plc:x/app.bsky.feed.post/3jzfcijpj2z2a', 'x/app.bsky.feed.post/3jzfcijpj2z2a'],
  [`at://did:plc:${suffix}`, suffix],
  ['at://did:plc:', ''],
  ['at://did:web:example.com/app.bsky.feed.post/a', 'at://did:web:example.com/app.bsky.feed.post/a'],
  [`at://did:plc:${suffix}/app.bsky.feed.post/a!b`, `at://did:plc:${suffix}/app.bsky.feed.post/a!b`],
  [`at://did:plc:${suffix}/app.bsky.feed.post/a b`, `at://did:plc:${suffix}/app.bsky.feed.post/a b`],
  ['at://did:plc:aé', 'at://did:plc:aé'],
  ['at://did:plc:=', 'at://did:plc:='],
  ['at://did:plc:at://', 'at://did:plc:at://'],
  ['', '='],
  ['=', '=='],
  [`${suffix}!3jzfcijpj2z2a`, `=${suffix}!3jzfcijpj2z2a`],
]

export const didForms: readonly (readonly [string, string])[] = [
  [`did:plc:${suffix}`, suffix],
  ['did:web:example.com', 'did:web:example.com'],
  ['did:plc:did:plc:a', 'did:plc:did:plc:a'],
  ['did:plc:=a', 'did:plc:=a'],
  ['did:plc:a#b', 'did:plc:a#b'],
  ['did:plc:', ''],
  [suffix, `=${suffix}`],
]

/** Texts of CIDs and the hex of what rows hold: of a record, of a blob, and ones with about as many bytes as a digest. */
export const cidForms: readonly (readonly [string, string])[] = [
  [
    'bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq',
    '4b7f39b582ae354e9d8f4e0e857096921351a5752af84814e4df51d7b24801b4',
  ],
  [
    'bafkreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq',
    '015512204b7f39b582ae354e9d8f4e0e857096921351a5752af84814e4df51d7b24801b4',
  ],
  ['bafkqabtimvwgy3yk', '0155000668656c6c6f0a'],
  ['bafkqagyha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4', `0155001b${'07'.repeat(27)}`],
  ['bafkqahaha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dq', `000155001c${'07'.repeat(28)}`],
  ['bafkqahiha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqo', `0155001d${'07'.repeat(29)}`],
  [`bafkqaya${'ha4dqoby'.repeat(19)}h`, `01550060${'07'.repeat(96)}`],
]

/** JSON with a word of short-forms.ts in it, and what rows hold of it. */
export function jsonForm({ code, stretch }: Word): { whole: string; stored: string } {
  const before = stretch.text.startsWith(',') ? '{"a":0' : ''
  const opened: string[] = []
  for (const letter of (before + stretch.text).replaceAll(/"[^"]*"/g, '')) {
    if ('{['.includes(letter)) opened.unshift(letter === '{' ? '}' : ']')
    else if ('}]'.includes(letter)) opened.shift()
  }
  const after =
    ['', '1', '"', '":1'].map((end) => end + opened.join('')).find((end) => isJson(before + stretch.text + end)) ?? '?'
  return { whole: before + stretch.text + after, stored: before + String.fromCharCode(code) + after }
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
