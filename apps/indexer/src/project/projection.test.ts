import { loadCar } from 'repo-stream'
import { buildRepo, collectGarbage, encodeRecord, makeDid, makeSigningKey, type RepoRecord } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import { loadConfig } from '../config.ts'
import { projectionLimits } from './limits.ts'
import { createProjection, type ProjectionSink } from './projection.ts'
import { placeOf } from './testing-place.ts'
import { createTestProjection } from './testing-settle.ts'
import { type Plain, readFields } from './testing-slow-way.ts'

const typed = await loadConfig()
const all = await loadConfig({ collections: ['*'] })
const like = 'app.bsky.feed.like'
const post = 'app.bsky.feed.post'
const time = '2024-02-03T04:05:06.789Z'
const uri = 'at://did:plc:x/app.bsky.feed.post/3jzfcijpj2z2a'

test('one block under two collections becomes a row of each, with what the collection finds in it', async () => {
  const both = { $type: post, text: 'hello', createdAt: time, subject: { uri } }
  const walked = await walkTwice([
    { key: `${post}/3jzfcijpj2z2a`, value: both },
    { key: `${like}/3jzfcijpj2z2b`, value: both },
  ])
  expect(walked.rows.map((row) => row.table)).toEqual(['like', 'post'])
  expect(walked.rows[0]?.values.subject_uri).toBe(uri)
  expect(walked.rows[1]?.values.text).toBe('hello')
  expect(walked.oddities).toEqual([`${like}/3jzfcijpj2z2b $type TypeDiffers`])
})

test('a post stored under the like collection is a row of likes, and its type an oddity', async () => {
  const walked = await walkTwice([
    { key: `${like}/3jzfcijpj2z2a`, value: { $type: post, text: 'hi', createdAt: time } },
  ])
  expect(walked.rows).toMatchObject([{ table: 'like', values: { subject_uri: null, subject_cid: null } }])
  expect(walked.rows[0]?.values.created_at).toBeTypeOf('bigint')
  expect(walked.oddities).toEqual([`${like}/3jzfcijpj2z2a $type TypeDiffers`])
  expect(walked.walks).toBe(2)
})

test('a wrong $type that no table wants does not lose the record', async () => {
  const value = { $type: 'com.example.nothing', subject: { uri }, createdAt: time }
  const walked = await walkTwice([{ key: `${like}/3jzfcijpj2z2a`, value }])
  expect(walked.rows).toMatchObject([{ table: 'like', values: { subject_uri: uri } }])
  expect(walked.walks).toBe(2)
})

test('a record without $type is a row of its collection after one walk, and nothing odd', async () => {
  const walked = await walkTwice([{ key: `${like}/3jzfcijpj2z2a`, value: { subject: { uri }, createdAt: time } }])
  expect(walked.rows).toMatchObject([{ table: 'like', values: { subject_uri: uri } }])
  expect(walked).toMatchObject({ walks: 1, oddities: [] })
})

test('a $type that is no text, or empty, is like any wrong one', async () => {
  for (const $type of [7, null, '', 'x'.repeat(400), new TextEncoder().encode(like), [like]]) {
    const walked = await walkTwice([{ key: `${like}/3jzfcijpj2z2a`, value: { $type, subject: { uri } } }])
    expect(walked.rows).toMatchObject([{ table: 'like', values: { subject_uri: uri } }])
    expect(walked.oddities).toEqual([`${like}/3jzfcijpj2z2a $type TypeDiffers`])
  }
})

test('a collection that the config leaves out is counted, whatever its records say they are', async () => {
  const walked = await walkTwice([
    { key: 'com.example.other/a', value: { $type: post, text: 'hi' } },
    { key: 'com.example.other/b', value: { $type: 'com.example.other' } },
    { key: 'com.example.other/c', bytes: Uint8Array.of(0xff) },
  ])
  expect(walked).toMatchObject({ rows: [], rejects: [], walks: 1, skipped: { 'com.example.other': 3 } })
})

test('with * every other collection is a row of records, and typed ones stay where they are', async () => {
  const records = [
    { key: 'com.example.other/a', value: { $type: 'com.example.other', n: 1n << 60n } },
    { key: `${post}/3jzfcijpj2z2a`, value: { $type: 'com.example.other', text: 'hi' } },
    { key: 'com.example.other/b', value: { $type: post, text: 'hi' } },
  ]
  const walked = await walkTwice(records, all)
  expect(walked.rows.map(({ table, values }) => [table, values.record ?? values.text])).toEqual([
    ['post', 'hi'],
    ['records', '{"n":1152921504606846976,"$type":"com.example.other"}'],
    ['records', `{"text":"hi","$type":"${post}"}`],
  ])
})

test.each([
  ['not CBOR', Uint8Array.of(0xff), 'RecordMalformed'],
  ['no bytes', Uint8Array.of(), 'RecordMalformed'],
  ['no map', Uint8Array.of(0x63, 0x61, 0x62, 0x63), 'RecordMalformed'],
  ['cut off', encode({ $type: like, createdAt: time }).slice(0, -1), 'RecordMalformed'],
  ['more than one value', Uint8Array.of(0xa0, 0xa0), 'RecordMalformed'],
  ['a repeated key', Uint8Array.of(0xa2, 0x61, 0x61, 1, 0x61, 0x61, 2), 'RecordMalformed'],
  ['a key repeated out of order', Uint8Array.of(0xa3, 0x61, 0x62, 1, 0x61, 0x61, 2, 0x61, 0x62, 3), 'RecordMalformed'],
  ['undefined', Uint8Array.of(0xa1, 0x61, 0x61, 0xf7), 'RecordMalformed'],
  ['an unassigned simple value', Uint8Array.of(0xa1, 0x61, 0x61, 0xf8, 0x20), 'RecordMalformed'],
  ['a short float', Uint8Array.of(0xa1, 0x61, 0x61, 0xf9, 0x3e, 0), 'RecordMalformed'],
  ['NaN', Uint8Array.of(0xa1, 0x61, 0x61, 0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0), 'RecordMalformed'],
  ['a wide integer', Uint8Array.of(0xa1, 0x61, 0x61, 0x18, 1), 'RecordMalformed'],
  ['an indefinite list', Uint8Array.of(0xa1, 0x61, 0x61, 0x9f, 0xff), 'RecordMalformed'],
  ['a tag that is no link', Uint8Array.of(0xa1, 0x61, 0x61, 0xc1, 1), 'RecordMalformed'],
  ['a link that is no CID', Uint8Array.of(0xa1, 0x61, 0x61, 0xd8, 42, 0x42, 0, 1), 'RecordMalformed'],
  ['a list said to be huge', Uint8Array.of(0xa1, 0x61, 0x61, 0x9a, 0x7f, 0xff, 0xff, 0xff), 'RecordMalformed'],
  ['300 lists in lists', encode({ a: nest(300) }), 'RecordTooDeep'],
  ['a million lists in lists', deepBytes(1_000_000), 'RecordTooDeep'],
])('a block with %s is rejected with its bytes', (_name, block, code) => {
  for (const config of [typed, all]) {
    for (const collection of config === all ? [like, 'com.example.any'] : [like]) {
      const settled = createTestProjection(config).settleAs(collection, block)
      expect(settled).toMatchObject({ reject: code, rejectedBytes: block, oddities: [] })
      expect(settled.fields).toBeUndefined()
    }
  }
})

test('keys out of order are read', () => {
  const block = Uint8Array.of(0xa2, ...encode({ text: 'hi' }).slice(1), ...encode({ a: 1 }).slice(1))
  const { table, fields } = createTestProjection(typed).settleAs(post, block)
  expect(table && fields && readFields(table, fields)).toContain('hi')
})

test('a key that Postgres could not index is rejected with the bytes, also when the block was projected before', () => {
  const block = encode({ $type: like, subject: { uri } })
  for (const rkey of ['x'.repeat(projectionLimits.maxKeyBytes), 'a b', 'ä', '']) {
    expect(createTestProjection(typed).settleAs(like, block, rkey)).toMatchObject({
      reject: 'RecordKeyUnusable',
      rejectedBytes: block,
    })
  }
  expect(createTestProjection(all).settleAs('no-nsid', block)).toMatchObject({
    reject: 'RecordKeyUnusable',
    rejectedBytes: block,
  })
  expect(createTestProjection(typed).settleAs('no-nsid\0', block)).toMatchObject({ skipped: '(invalid)' })
})

test('the original of every odd value is kept, whole', () => {
  const value = {
    $type: post,
    text: 'a\0b',
    langs: ['en', 7],
    createdAt: 'now',
    reply: 'none',
    embed: { size: 0.5, x: ['\0'] },
  }
  const settled = createTestProjection(typed).settleAs(post, encode(value))
  expect(Object.fromEntries(settled.oddities.map((odd, i) => [odd, settled.originals[i]]))).toEqual(
    Object.fromEntries(
      [
        ['created_at DatetimeMalformed', value.createdAt],
        ['text TextNul', value.text],
        ['langs WrongType', value.langs],
        ['reply_root_uri WrongType', value.reply],
        ['reply_root_cid WrongType', value.reply],
        ['reply_parent_uri WrongType', value.reply],
        ['reply_parent_cid WrongType', value.reply],
        ['embed TextNul', value.embed],
      ].map(([odd, original]) => [odd, encode(original)]),
    ),
  )
})

test('a CID of more than 100 bytes is null, and one of version 0 is no link', () => {
  const projection = createTestProjection(typed)
  const settle = (cid: Uint8Array) => {
    const link = Buffer.concat([Buffer.of(0xd8, 0x2a), bytesHead(cid.length + 1), Buffer.of(0), cid])
    const record = Buffer.from(encode({ $type: like, subject: { cid: 'HERE', uri } }))
    const at = record.indexOf('HERE') - 1
    return projection.settleAs(
      like,
      Uint8Array.from(Buffer.concat([record.subarray(0, at), link, record.subarray(at + 5)])),
    )
  }
  const identity = (length: number) =>
    Buffer.concat([Buffer.of(1, 0x55, 0, 0x80 | (length & 127), length >> 7), Buffer.alloc(length)])
  expect(settle(identity(2_000)).oddities).toEqual(['subject_cid CidMalformed'])
  expect(settle(Buffer.concat([Buffer.of(0x12, 0x20), Buffer.alloc(32)])).reject).toBe('RecordMalformed')
})

test('memory for a huge record is given back after it', () => {
  const projection = createProjection(all)
  const digest = new Uint8Array(32)
  const huge = encode({ $type: 'com.example.huge', text: 'x'.repeat(3_000_000) })
  expect(projection.process(huge, digest, placeOf(huge)).buffer.byteLength).toBeGreaterThan(
    projectionLimits.maxKeptScratchBytes,
  )
  const small = encode({ $type: like, subject: { uri } })
  expect(projection.process(small, digest, placeOf(small)).buffer.byteLength).toBeLessThan(
    projectionLimits.maxKeptScratchBytes,
  )
})

test('types that can be no collection are not remembered, and do not make a second walk', async () => {
  const projection = createProjection(all)
  const block = encode({ $type: 'x'.repeat(1_000_000) })
  const typeAt = block.indexOf(0x78)
  collectGarbage()
  const before = process.memoryUsage()
  for (let i = 0; i < 120; i++) {
    block.set(Buffer.from(String(i)), typeAt)
    projection.process(block, new Uint8Array(32), placeOf(block))
  }
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  expect(heapUsed + external - before.heapUsed - before.external).toBeLessThan(50_000_000)
  const value = { $type: 'x'.repeat(318), subject: { uri } }
  const walked = await walkTwice([{ key: `${like}/3jzfcijpj2z2a`, value }])
  expect(walked).toMatchObject({ walks: 1, rows: [{ values: { subject_uri: uri } }] })
  expect(walked.oddities).toEqual([`${like}/3jzfcijpj2z2a $type TypeDiffers`])
  const generic = await walkTwice([{ key: 'com.example.other/a', value: { $type: 'x'.repeat(318) } }], all)
  expect(generic).toMatchObject({ walks: 1, rows: [{ table: 'records' }], oddities: [] })
})

function encode(value: unknown): Uint8Array {
  return Uint8Array.from(encodeRecord(value))
}

interface Walked {
  walks: number
  rows: { table: string; values: Record<string, Plain> }[]
  oddities: string[]
  rejects: string[]
  skipped: Record<string, number>
}

/** A repo of these records, loaded and walked by repo-stream as the indexer does it. */
async function walkTwice(records: RepoRecord[], config = typed): Promise<Walked> {
  const repo = buildRepo({ did: makeDid(1), signingKey: makeSigningKey(1), records })
  const keepRaw = new Set<string>()
  for (let walks = 1; ; walks++) {
    const walked: Walked = { walks, rows: [], oddities: [], rejects: [], skipped: {} }
    const before = keepRaw.size
    await walk(repo.car, createProjection(config, { keepRaw: new Set(keepRaw) }), sinkInto(walked, keepRaw))
    if (keepRaw.size === before) return walked
    expect(walks).toBe(1)
  }
}

async function walk(
  car: Uint8Array,
  projection: ReturnType<typeof createProjection>,
  sink: ProjectionSink,
): Promise<void> {
  const loaded = await loadCar(car, { process: (block, digest, place) => projection.process(block, digest, place) })
  if (loaded.kind !== 'memory') throw new Error('too big for a test')
  await using driver = loaded.driver
  for (;;) {
    const entries = await driver.nextChunk(100)
    if (entries === undefined) return
    for (const entry of entries) projection.settle(entry, sink)
  }
}

function sinkInto(walked: Walked, keepRaw: Set<string>): ProjectionSink {
  return {
    row: (table, _entry, { memory, from, to }) => {
      const plain = readFields(table, memory.bytes.subarray(from, to))
      walked.rows.push({
        table: table.name,
        values: Object.fromEntries(table.columns.map((column, i) => [column.name, plain[i] ?? null])),
      })
    },
    oddity: (_table, entry, column, code) => walked.oddities.push(`${entry.key} ${column} ${code}`),
    reject: (entry, code) => walked.rejects.push(`${entry.key} ${code}`),
    skipped: (collection) => {
      walked.skipped[collection] = (walked.skipped[collection] ?? 0) + 1
    },
    again: (entry) => keepRaw.add(Buffer.from(entry.cid.subarray(4)).toString('latin1')),
  }
}

function nest(depth: number): unknown {
  let value: unknown = 1
  for (let i = 0; i < depth; i++) value = [value]
  return value
}

/** {"a": [[[...]]]}, too deep for any encoder that recurses. */
function deepBytes(depth: number): Uint8Array {
  const bytes = new Uint8Array(depth + 4).fill(0x81)
  bytes.set([0xa1, 0x61, 0x61])
  bytes[bytes.length - 1] = 1
  return bytes
}

function bytesHead(length: number): Buffer {
  return length < 256 ? Buffer.of(0x58, length) : Buffer.of(0x59, length >> 8, length)
}
