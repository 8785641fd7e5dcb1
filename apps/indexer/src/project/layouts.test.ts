import { encodeRecord } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import { loadConfig } from '../config.ts'
import { CborReader } from './cbor.ts'
import { FieldWriter } from './fields.ts'
import { Layouts } from './layouts.ts'
import { Projector } from './projector.ts'
import { placeOf } from './testing-place.ts'

const [table] = (await loadConfig({ collections: ['app.bsky.feed.like'] })).tables
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
