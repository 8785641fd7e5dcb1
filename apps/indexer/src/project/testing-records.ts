// Random records for tests: values that a lexicon allows, from a seed, and mutations that no lexicon does.
// Lexicon documents in (of @atproto/api), plain values for `encodeRecord` out.
import { schemas } from '@atproto/api'
import { CID } from 'multiformats/cid'
import { cidOf, cidText, makeDid, type Random, tidFromMicros } from 'repo-stream/fixtures'

type Def = Readonly<Record<string, unknown>>

/** NSIDs of all record types that the package knows. */
export const recordTypes: readonly string[] = schemas
  .filter((schema) => 'main' in schema.defs && schema.defs.main.type === 'record')
  .map((schema) => schema.id)

const documents = new Map<string, Def>(schemas.map((schema) => [schema.id, schema]))

/** A record of type `nsid`: required properties, most optional ones, and now and then something odd. `oddity` is a probability. */
export function randomRecord(nsid: string, random: Random, oddity = 0): Record<string, unknown> {
  const main = findDef(`${nsid}#main`)
  const record = makeValue(isDef(main?.record) ? main.record : {}, { nsid, random, oddity, depth: 0 })
  return { $type: nsid, ...(isDef(record) ? record : {}) }
}

interface Making {
  nsid: string
  random: Random
  oddity: number
  depth: number
}

function isDef(value: unknown): value is Def {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function findDef(ref: string): Def | undefined {
  const [id = '', name = 'main'] = ref.split('#')
  const defs = documents.get(id)?.defs
  const def = isDef(defs) ? defs[name] : undefined
  return isDef(def) ? def : undefined
}

function makeValue(def: Def, making: Making): unknown {
  const { random, oddity, depth } = making
  if (random.chance(oddity)) return oddValue(random)
  if (depth > 12) return {}
  switch (def.type) {
    case 'object':
      return makeObject(def, making)
    case 'ref':
      return makeRef(String(def.ref), making)
    case 'union':
      return makeUnion(def, making)
    case 'array':
      return Array.from({ length: random.below(4) }, () =>
        makeValue(isDef(def.items) ? def.items : {}, { ...making, depth: depth + 1 }),
      )
    case 'string':
      return makeString(def, random)
    case 'integer':
      return random.below(3) === 0 ? -random.below(1000) : random.below(2 ** 31) * random.below(2 ** 20)
    case 'boolean':
      return random.chance(0.5)
    case 'bytes':
      return random.bytes(random.below(40))
    case 'cid-link':
      return CID.decode(cidOf(random.bytes(8)))
    case 'blob':
      return { $type: 'blob', ref: CID.decode(cidOf(random.bytes(8))), mimeType: 'image/jpeg', size: random.below(1e6) }
    default:
      return { some: ['unknown', random.below(10)], $type: 'com.example.unknown' }
  }
}

function makeObject(def: Def, making: Making): Record<string, unknown> {
  const { random } = making
  const required = new Set(Array.isArray(def.required) ? def.required : [])
  const made: Record<string, unknown> = {}
  for (const [key, property] of Object.entries(isDef(def.properties) ? def.properties : {})) {
    if (!isDef(property) || (!required.has(key) && random.chance(0.3))) continue
    made[key] = random.chance(0.02) ? null : makeValue(property, { ...making, depth: making.depth + 1 })
  }
  return made
}

function makeRef(ref: string, making: Making): unknown {
  const plain = ref.replace(/^lex:/, '')
  const full = plain.startsWith('#') ? making.nsid + plain : plain
  return makeValue(findDef(full) ?? {}, { ...making, nsid: full.split('#')[0] ?? '', depth: making.depth + 1 })
}

function makeUnion(def: Def, making: Making): unknown {
  const refs = Array.isArray(def.refs) ? def.refs.map(String) : []
  if (refs.length === 0) return {}
  const ref = making.random.pick(refs)
  const made = makeRef(ref, making)
  return isDef(made) ? { $type: ref.replace(/^lex:/, ''), ...made } : made
}

function makeString(def: Def, random: Random): string {
  const day = new Date(Date.UTC(2023, 0, 1) + random.below(2 ** 31) * 30)
  switch (def.format) {
    case 'datetime':
      return random.chance(0.2) ? day.toISOString().replace('Z', `${random.below(1e6)}+05:30`) : day.toISOString()
    case 'at-uri':
      return `at://${makeDid(random.below(1000))}/app.bsky.feed.post/${tidFromMicros(random.below(2 ** 31) * 1000, 1)}`
    case 'did':
      return makeDid(random.below(1000))
    case 'cid':
      return cidText(cidOf(random.bytes(8)))
    default:
      return randomText(random)
  }
}

const alphabets = ['abc de', 'äöüß ', '日本語の', '👍🏽👩‍👩‍👧', '"\\\n\t\u0001\u001f/', '\u0000\ufffe\ufeff']

function randomText(random: Random): string {
  const letters = [...random.pick(alphabets), ...random.pick(alphabets), 'a', 'b', 'c']
  return Array.from({ length: random.below(40) }, () => random.pick(letters)).join('')
}

/** What Postgres refuses, what it would change, and what no lexicon expects. */
function oddValue(random: Random): unknown {
  const pick = random.pick([
    () => random.pick(oddTexts),
    () =>
      random.pick([
        2n ** 63n - 1n,
        2n ** 63n,
        -(2n ** 63n),
        -(2n ** 63n) - 1n,
        2n ** 64n - 1n,
        -(2n ** 64n),
        2n ** 53n,
      ]),
    () => random.pick([0.5, -0.0, 1e300, 5e-324, 2 ** 60, -1.5]),
    () =>
      random.pick([
        null,
        true,
        false,
        0,
        23,
        24,
        255,
        256,
        65_535,
        65_536,
        4_294_967_295,
        4_294_967_296,
        -1,
        -24,
        -25,
        -4_294_967_297,
      ]),
    () => random.bytes(random.below(70)),
    () => Array.from({ length: random.below(5) }, () => oddValue(random)),
    () => Object.fromEntries(Array.from({ length: random.below(5) }, () => [randomText(random), oddValue(random)])),
    () => CID.decode(cidOf(random.bytes(4))),
    () => nested(random.below(30)),
  ])
  return pick()
}

function nested(depth: number): unknown {
  let value: unknown = 'deep'
  for (let i = 0; i < depth; i++) value = i % 2 === 0 ? [value] : { uri: value }
  return value
}

const oddTexts = [
  '',
  '\0',
  'a\0b',
  'x'.repeat(2_600),
  'x'.repeat(2_601),
  'ü'.repeat(1_301),
  'now',
  'infinity',
  'at://',
  '0000-01-01T00:00:00Z',
  '0001-01-01T00:00:00Z',
  '0001-01-01T00:00:00+00:01',
  '9999-12-31T23:59:59.999999Z',
  '9999-12-31T23:59:59-00:01',
  '2024-02-30T00:00:00Z',
  '2024-02-29T00:00:00Z',
  '2023-02-29T00:00:00Z',
  '2024-01-01T00:00:60Z',
  '2024-01-01T24:00:00Z',
  '2024-01-01T00:00:00',
  '2024-01-01 00:00:00Z',
  '2024-01-01T00:00:00.1234567Z',
  '2024-01-01T00:00:00.1234560Z',
  '2024-01-01T00:00:00.Z',
  '2024-01-01T00:00:00-00:00',
  '+275760-09-13T00:00:00.000Z',
  '2024-1-1T00:00:00Z',
  '1969-12-31T23:59:59.999999+14:00',
  'bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq',
  'bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwr',
  'BAFYREICLP443LAVOGVHJ3D2OB2CXBFUSCNI2K5JK7BEBJZG7KHL3ESABWQ',
  'QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG',
  'bafkqaaa',
  'b',
  'b!',
]
