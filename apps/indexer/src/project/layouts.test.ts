import { encodeRecord } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import { loadConfig } from '../config.ts'
import { resolveConfig } from '../config-resolve.ts'
import { CborReader } from './cbor.ts'
import { FieldWriter } from './fields.ts'
import { Layouts } from './layouts.ts'
import { Projector } from './projector.ts'
import { placeOf } from './testing-place.ts'
import { createTestProjection } from './testing-settle.ts'

const config = await loadConfig({ collections: ['app.bsky.feed.like'] })
const [table] = config.tables
if (table === undefined) throw new Error('one collection is one table')
const projector = new Projector(table)
const like = {
  $type: 'app.bsky.feed.like',
  subject: {
    uri: 'at://did:plc:q7tfqogr5e2htqpmic2rg5iu/app.bsky.feed.post/3jqjtpqhzmvzm',
    cid: 'bafyreigxd7o6qmhv6reh3linh7cnv6xzvvcoubtbwbxqy7qvjrqaww26xa',
  },
  createdAt: '2023-03-10T01:08:50.777Z',
}

test('a layout is known when many records have its length, and fits those that differ in the text of columns alone', () => {
  const layouts = new Layouts()
  for (let i = 0; i < 63; i++) see(layouts, like)
  expect(recall(layouts, like)).toBeUndefined()
  see(layouts, like)
  expect(recall(layouts, like)).toBe(projector)
  expect(recall(layouts, { ...like, createdAt: 'not at all a time, never' })).toBe(projector)
  expect(recall(layouts, { ...like, createdAt: '2023-03-10T01:08:50.7777Z' })).toBeUndefined()
  expect(recall(layouts, { ...like, createdAT: like.createdAt, createdAt: undefined })).toBeUndefined()
  expect(recall(layouts, { ...like, $type: 'app.bsky.feed.lake' })).toBeUndefined()
  expect(recall(layouts, { ...like, createdAt: new TextEncoder().encode(like.createdAt) })).toBeUndefined()
})

test('lengths that few records have are not learned, however many there are', () => {
  const layouts = new Layouts()
  for (let round = 0; round < 200; round++) {
    for (let length = 0; length < 100; length++) see(layouts, { ...like, createdAt: 'x'.repeat(length) })
  }
  expect(recall(layouts, { ...like, createdAt: 'x'.repeat(50) })).toBeUndefined()
})

test('a record that begins like a known one is not taken for it when it is longer', () => {
  const rows = createTestProjection(config)
  const block = Uint8Array.from(encodeRecord(like))
  for (let i = 0; i < 70; i++) expect(rows.settleAs(like.$type, block).fields).toBeDefined()
  for (const more of [1, 4, 256, 1_023, 1_024, 2_048])
    expect(rows.settleAs(like.$type, Uint8Array.from([...block, ...new Uint8Array(more)])).reject).toBe(
      'RecordMalformed',
    )
})

test('a known layout tells the originals of its odd values, and one where something is no map is not learned', async () => {
  const columns = { s: 'text', t: 'timestamptz', deep: { type: 'text', path: 'a.b' } } as const
  const rows = createTestProjection(await resolveConfig({ collections: { 'com.example.one': { columns } } }))
  for (let i = 0; i < 300; i++) {
    const value = { $type: 'com.example.one', s: 'text\0', t: `no time ${i % 10}`, a: i < 70 ? { b: 'x' } : 'noMap' }
    const { oddities, originals } = rows.settleAs(value.$type, Uint8Array.from(encodeRecord(value)))
    const blocked = i < 70 ? [] : ['deep WrongType']
    expect(oddities).toEqual(['s TextNul', 't DatetimeMalformed', ...blocked])
    const wanted = [value.s, value.t, ...(i < 70 ? [] : [value.a])].map((odd) => Buffer.from(encodeRecord(odd)))
    expect(originals.map((original) => Buffer.from(original))).toEqual(wanted)
  }
})

test('a type is told apart also where it is a column', async () => {
  const columns = { type: { type: 'text', path: '$type' }, s: 'text' } as const
  const collections = { 'com.example.one': { columns }, 'com.example.two': { columns } }
  const rows = createTestProjection(await resolveConfig({ collections }))
  for (let i = 0; i < 70; i++)
    rows.settleAs('com.example.one', Uint8Array.from(encodeRecord({ $type: 'com.example.one', s: 'text' })))
  const other = Uint8Array.from(encodeRecord({ $type: 'com.example.two', s: 'text' }))
  expect(rows.settleOnce('com.example.two', other)).toMatchObject({ table: { name: 'two' }, oddities: [] })
  expect(rows.settleOnce('com.example.one', other)).toMatchObject({ again: true })
})

function see(layouts: Layouts, record: Record<string, unknown>): void {
  const reader = open(record)
  const writer = new FieldWriter()
  writer.replaceRoom(new Uint8Array(projector.roomFor(1_000)))
  projector.project(reader, writer)
  const typeAt = Buffer.from(reader.bytes.buffer).indexOf(like.$type)
  layouts.learn(reader, projector, typeAt + like.$type.length)
}

function recall(layouts: Layouts, record: Record<string, unknown>): Projector | undefined {
  return layouts.recall(open(record))?.projector
}

function open(record: Record<string, unknown>): CborReader {
  const reader = new CborReader()
  const known = Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined))
  reader.open(placeOf(Uint8Array.from(encodeRecord(known))))
  return reader
}
