import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { decode as cborgDecode } from 'cborg'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import { describe, expect, test } from 'vitest'
import { encodeRecord, generateRecords } from '../fixtures/index.ts'
import { decodeRecord, type RecordValue } from './decode-record.ts'
import { RepoStreamError } from './errors.ts'

const seed = Number(process.env.SEED ?? 20_250_101)
const link = CID.parse('bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq')
const linkHex = `d82a582500${Buffer.from(link.bytes).toString('hex')}`

const fromHex = (hex: string): Uint8Array => Uint8Array.from(Buffer.from(hex, 'hex'))

/** A map {a: <item>} of the item's bytes in hex. */
const withItem = (hex: string): Uint8Array => fromHex(`a16161${hex}`)

function errorOf(bytes: Uint8Array): RepoStreamError {
  try {
    decodeRecord(bytes)
  } catch (error) {
    if (error instanceof RepoStreamError) return error
    throw error
  }
  throw new Error(`accepted ${Buffer.from(bytes).toString('hex')}`)
}

/** Big integers as cborg gives them and links as their text, so that values compare by content. */
function plain(value: RecordValue): unknown {
  if (value instanceof CID) return { link: value.toString() }
  if (value instanceof Uint8Array) return { bytes: Buffer.from(value).toString('hex') }
  if (Array.isArray(value)) return value.map(plain)
  if (typeof value === 'object' && value !== null) {
    return Object.entries(value).map(([key, item]) => [key, plain(item)])
  }
  return value
}

function cborgStrict(bytes: Uint8Array): RecordValue {
  const tags: Record<number, (inner: () => unknown) => unknown> = {
    42: (inner) => {
      const content = inner()
      return content instanceof Uint8Array ? CID.decode(content.slice(1)) : undefined
    },
  }
  const options = { allowIndefinite: false, allowUndefined: false, allowNaN: false, allowInfinity: false, strict: true }
  return cborgDecode(bytes, { ...options, rejectDuplicateMapKeys: true, tags })
}

const leaf = fc.oneof(
  fc.string({ unit: 'grapheme' }),
  fc.string({ unit: 'binary' }),
  fc.integer(),
  fc.maxSafeInteger(),
  fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n - 1n }),
  fc.double({ noNaN: true, noDefaultInfinity: true }).filter((value) => !Number.isInteger(value)),
  fc.boolean(),
  fc.constant(null),
  fc.constant(link),
  fc.uint8Array({ maxLength: 80 }),
)
const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 5, depthSize: 'small' },
    leaf,
    fc.array(tie('tree')),
    fc.dictionary(fc.string({ unit: 'grapheme' }), tie('tree')),
  ),
}))
const record = fc.dictionary(fc.string({ unit: 'grapheme', maxLength: 30 }), tree)

describe('decodeRecord', () => {
  test('gives the values that cborg in strict mode gives, whatever they are', () => {
    fc.assert(
      fc.property(record, (value) => {
        const bytes = Uint8Array.from(encodeRecord(value))
        expect(plain(decodeRecord(bytes))).toEqual(plain(cborgStrict(bytes)))
      }),
      { seed, numRuns: 500 },
    )
  })

  test('gives what was encoded for every kind of generated record', () => {
    for (const { value } of generateRecords({
      seed,
      count: 2_000,
      mix: { post: 5, like: 5, list: 1, threadGate: 1, unknown: 5 },
    })) {
      const bytes = Uint8Array.from(encodeRecord(value))
      expect(Uint8Array.from(encodeRecord(decodeRecord(bytes)))).toEqual(bytes)
    }
  })

  test('a byte that is changed is either refused or decoded to what encodes to the same bytes', () => {
    const records = [...generateRecords({ seed, count: 30, mix: { post: 5, like: 2, unknown: 4 } })]
    const bytes = records.map(({ value }) => Uint8Array.from(encodeRecord(value)))
    fc.assert(
      fc.property(fc.constantFrom(...bytes), fc.nat(), fc.integer({ min: 0, max: 255 }), (original, where, byte) => {
        const changed = Uint8Array.from(original)
        changed[where % changed.length] = byte
        try {
          expect(Buffer.from(encodeRecord(decodeRecord(changed))).equals(changed)).toBe(true)
        } catch (error) {
          if (!(error instanceof RepoStreamError) || error.code !== 'RecordInvalid') throw error
        }
      }),
      { seed, numRuns: 20_000 },
    )
  })

  test('a record that is cut anywhere is refused', () => {
    for (const { value } of generateRecords({ seed, count: 12, mix: { post: 5, unknown: 5 } })) {
      const bytes = Uint8Array.from(encodeRecord(value))
      for (let end = 0; end < bytes.length; end++) expect(errorOf(bytes.subarray(0, end)).code).toBe('RecordInvalid')
    }
  })

  test('links are CIDs in all their uses', () => {
    const { a } = decodeRecord(withItem(linkHex))
    const cid = CID.asCID(a)
    expect(a).toBeInstanceOf(CID)
    expect(cid?.equals(link)).toBe(true)
    expect(link.equals(cid)).toBe(true)
    expect(cid?.toString()).toBe(link.toString())
    expect(cid?.multihash.digest).toEqual(link.multihash.digest)
    expect(JSON.stringify({ a })).toBe(JSON.stringify({ a: link }))
    expect(cid?.toV1().toString()).toBe(link.toString())
  })

  test('links of other codecs, hashes and versions are CIDs too', () => {
    const v0 = CID.parse('QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR')
    const identity = CID.decode(fromHex('015500036869210a').subarray(0, 7))
    for (const cid of [v0, identity]) {
      const { a } = decodeRecord(Uint8Array.from(encodeRecord({ a: cid })))
      expect(CID.asCID(a)?.toString()).toBe(cid.toString())
    }
  })

  test('a key named __proto__ is a field like any other', () => {
    const value = decodeRecord(fromHex(`a1695f5f70726f746f5f5fa1616101`))
    expect(Object.keys(value)).toEqual(['__proto__'])
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype)
  })

  const shortMaps = fc.array(
    fc.dictionary(fc.string({ unit: 'binary', maxLength: 12 }), fc.integer(), { maxKeys: 9 }),
    {
      minLength: 1,
      maxLength: 9,
    },
  )
  test('a record that came hundreds of times before is decoded as it was the first time', () => {
    fc.assert(
      fc.property(shortMaps, (maps) => {
        const bytes = Uint8Array.from(encodeRecord({ maps, ...maps[0] }))
        const first = decodeRecord(bytes)
        for (let i = 0; i < 300; i++) decodeRecord(bytes)
        expect(plain(decodeRecord(bytes))).toEqual(plain(first))
        expect(plain(first)).toEqual(plain(cborgStrict(bytes)))
      }),
      { seed, numRuns: 100 },
    )
  })

  const oddNames = [
    '__proto__',
    'constructor',
    'toString',
    '0',
    '-1',
    '',
    '"',
    "'",
    '`',
    '\\',
    '\n',
    '\u2028',
    '"}//',
    '}',
    '*/',
  ]
  test.each(oddNames)('a key %j that comes hundreds of times is a field like any other', (name) => {
    const fields = [[name, 1]] as const
    const bytes = Uint8Array.from(
      encodeRecord({ one: Object.fromEntries(fields), more: Object.fromEntries([...fields, ['zz', 2]]) }),
    )
    for (let i = 0; i < 300; i++) {
      const { one, more } = decodeRecord(bytes)
      expect(plain(one ?? null)).toEqual(fields)
      expect(new Map(Object.entries(more ?? {}))).toEqual(new Map([...fields, ['zz', 2]]))
      expect(Object.getPrototypeOf(one)).toBe(Object.prototype)
      expect(Object.getPrototypeOf(more)).toBe(Object.prototype)
    }
  })

  test('decodes the same where code from strings is forbidden', () => {
    const [{ value } = { value: {} }] = generateRecords({ seed, count: 1, mix: { post: 1 } })
    const bytes = Buffer.from(encodeRecord(value))
    const script = `
      const { decodeRecord } = await import(${JSON.stringify(join(import.meta.dirname, 'decode-record.ts'))})
      const bytes = Buffer.from('${bytes.toString('hex')}', 'hex')
      for (let i = 0; i < 300; i++) decodeRecord(bytes)
      let refused = false
      try { new Function('return 1') } catch { refused = true }
      console.log(JSON.stringify({ refused, record: decodeRecord(bytes) }))`
    const flags = ['--disallow-code-generation-from-strings', '--input-type=module', '-e', script]
    const answer: unknown = JSON.parse(execFileSync(process.execPath, flags, { encoding: 'utf8' }))
    expect(answer).toEqual({ refused: true, record: JSON.parse(JSON.stringify(decodeRecord(bytes))) })
  })

  test('a map of ever new keys neither slows down nor grows what is remembered', () => {
    const wide = Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`key${i}`, i]))
    const bytes = Uint8Array.from(encodeRecord(wide))
    const started = process.cpuUsage()
    for (let i = 0; i < 3; i++) expect(Object.keys(decodeRecord(bytes))).toHaveLength(50_000)
    expect(process.cpuUsage(started).user / 1_000).toBeLessThan(2_000)
  })

  test('a record longer than a megabyte is decoded', () => {
    const text = 'é'.repeat(1_000_000)
    expect(decodeRecord(Uint8Array.from(encodeRecord({ text }))).text).toBe(text)
  })

  const refused: Record<string, [item: string, message: RegExp]> = {
    'an integer in a longer form': ['1801', /shortest/],
    'a length in a longer form': ['780161', /shortest/],
    'a list count in a longer form': ['980101', /shortest/],
    'an 8-byte number that fits in 4': ['1b00000000ffffffff', /shortest/],
    'an indefinite string': ['7f6161ff', /indefinite/],
    'an indefinite list': ['9f01ff', /indefinite/],
    'an indefinite map': ['bf616101ff', /indefinite/],
    'a reserved head': ['1c', /reserved/],
    'a 16-bit float': ['f93c00', /64 bits/],
    'a 32-bit float': ['fa3fc00000', /64 bits/],
    'not a number': ['fb7ff8000000000000', /no number/],
    infinity: ['fb7ff0000000000000', /no number/],
    undefined: ['f7', /simple/],
    'an unknown simple value': ['e0', /simple/],
    'a simple value in two bytes': ['f8ff', /simple/],
    'a break': ['ff', /simple/],
    'another tag than 42': ['c074323032352d30312d30315430303a30303a30305a', /tag/],
    'tag 42 in a longer form': ['d9002a5825', /tag/],
    'a link that is no byte string': ['d82a6161', /byte string/],
    'a link without its zero byte': ['d82a4101', /zero byte/],
    'a link that holds no CID': ['d82a43000171', /no CID/],
    'a link to a CID of version 0 that has a codec': [`d82a58250000551220${'ab'.repeat(32)}`, /version 0/],
    'a link to a CID with its codec in a longer form': [`d82a58260001f1001220${'ab'.repeat(32)}`, /CID/],
    'a link to a CID with its hash length in a longer form': [`d82a582600017112a000${'ab'.repeat(32)}`, /CID/],
    'a link to a CID with bytes after it': [`d82a582600${Buffer.from(link.bytes).toString('hex')}00`, /CID/],
    'a string that is not UTF-8': ['62c328', /UTF-8/],
    'a surrogate in a string': ['63eda080', /UTF-8/],
    'an overlong string': ['62c080', /UTF-8/],
    'keys out of order': ['a2616201616101', /order/],
    'a longer key first': ['a262616101616201', /order/],
    'a repeated key': ['a2616101616102', /repeated/],
    'a key that is no string': ['a10101', /key must be/],
    'a key that is not UTF-8': ['a161ff01', /UTF-8/],
    'a string past the end': ['7affffffff', /ends early/],
    'a list of 2^53 items': ['9b0020000000000000', /longer than the record/],
    'a map of 2^32 items': ['bb0000000100000000', /longer than the record/],
    'a byte string past the end': ['5b0020000000000000', /ends early/],
  }
  test.each(Object.entries(refused))('refuses %s and says where', (_, [item, message]) => {
    const error = errorOf(withItem(item))
    expect(error.code).toBe('RecordInvalid')
    expect(error.message).toMatch(message)
    expect(error.offset).toBeGreaterThanOrEqual(3)
    expect(error.offset).toBeLessThanOrEqual(3 + item.length / 2)
  })

  test('refuses bytes after the end, an empty record and a record that is no map', () => {
    expect(errorOf(fromHex('a0a0')).message).toMatch(/after the end/)
    expect(errorOf(new Uint8Array(0)).message).toMatch(/must be a map/)
    for (const hex of ['01', '6161', '80', 'f6', linkHex])
      expect(errorOf(fromHex(hex)).message).toMatch(/must be a map/)
  })

  test('refuses a nest of lists or maps before the stack ends', () => {
    const deepList = Uint8Array.from([0xa1, 0x61, 0x61, ...new Uint8Array(500_000).fill(0x81), 0xf6])
    expect(errorOf(deepList).message).toMatch(/nested/)
    const deepMap = Buffer.concat([Buffer.from('a16161'.repeat(300_000), 'hex'), Buffer.of(0xf6)])
    expect(errorOf(deepMap).message).toMatch(/nested/)
  })
})
