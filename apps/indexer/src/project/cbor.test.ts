// Where DAG-CBOR begins and ends to be refused, by the three ways through a value: passed over, written as JSON, and looked into for a column.
import { encodeRecord } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import { resolveConfig } from '../config-resolve.ts'
import { createTestProjection } from './testing-settle.ts'

const typed = {
  'com.example.passed': { columns: { other: 'text' } },
  'com.example.looked': { columns: { deep: { type: 'text', path: 'a.b.deep' } } },
} as const
const config = await resolveConfig({ collections: [typed, { '*': 'json' }] })
const projection = createTestProjection(config)

/** What becomes of `{ a: value }`: a code, or that it is a row. */
function outcomesOf(value: Uint8Array): (string | undefined)[] {
  const block = Uint8Array.from([0xa1, 0x61, 0x61, ...value])
  return ['com.example.passed', 'com.example.looked', 'com.example.any'].map((collection) => {
    const { reject, fields } = projection.settleAs(collection, block)
    return reject ?? (fields && 'row')
  })
}

const threeRows = ['row', 'row', 'row']
const threeRejects = ['RecordMalformed', 'RecordMalformed', 'RecordMalformed']
const fromHex = (hex: string) => new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'))

test('a head is taken in its shortest form alone, at each of the five widths', () => {
  const shortest = '00 17 1818 18ff 190100 19ffff 1a00010000 1affffffff 1b0000000100000000 1bffffffffffffffff'
  for (const hex of shortest.split(' ')) {
    expect(outcomesOf(fromHex(hex)), hex).toEqual(threeRows)
    const negative = fromHex(hex)
    negative[0] = (negative[0] ?? 0) | 0x20
    expect(outcomesOf(negative), `negative ${hex}`).toEqual(threeRows)
  }
  for (const hex of '1800 1817 190000 1900ff 1a00000000 1a0000ffff 1b0000000000000000 1b00000000ffffffff'.split(' ')) {
    for (const major of [0x00, 0x20, 0x40, 0x60, 0x80]) {
      const head = fromHex(hex)
      head[0] = (head[0] ?? 0) | major
      const rest = major < 0x40 ? 0 : Number(`0x${hex.slice(2)}`)
      if (rest > 0xffff) continue
      const value = Uint8Array.from([...head, ...new Uint8Array(rest)])
      expect(outcomesOf(value), Buffer.from(head).toString('hex')).toEqual(threeRejects)
    }
  }
})

test('text, bytes and lists are read at each length at which their heads grow', () => {
  for (const length of [0, 1, 23, 24, 255, 256, 65_535, 65_536]) {
    for (const value of ['x'.repeat(length), new Uint8Array(length), new Array(length).fill(7)])
      expect(outcomesOf(encode(value)), String(length)).toEqual(threeRows)
  }
})

test('of simple values only false, true, null and finite 64-bit floats are taken', () => {
  for (let byte = 0xe0; byte <= 0xff; byte++) {
    const isKnown = byte >= 0xf4 && byte <= 0xf6
    expect(outcomesOf(Uint8Array.of(byte)), byte.toString(16)).toEqual(isKnown ? threeRows : threeRejects)
  }
  for (const hex of [
    'f8f4',
    'f8ff',
    'f93c00',
    'fa3f800000',
    'fb7ff0000000000000',
    'fbfff0000000000000',
    'fbfff8000000000000',
  ])
    expect(outcomesOf(fromHex(hex)), hex).toEqual(threeRejects)
  for (const hex of ['fb3ff0000000000000', 'fb7fefffffffffffff', 'fb8000000000000000'])
    expect(outcomesOf(fromHex(hex)), hex).toEqual(threeRows)
})

test('a repeated key is refused wherever its map lies, in whatever order the keys come', () => {
  const maps = {
    sorted: 'a2 6161 01 6161 02',
    longer: 'a3 6161 01 626262 02 6161 03',
    lower: 'a3 6162 01 6161 02 6162 03',
  }
  for (const [order, map] of Object.entries(maps)) {
    for (const around of [
      '',
      '81',
      '82 00',
      'a1 6162',
      '82 a2 6162 00 6161 00',
      'a1 6162 a1 6464656570',
      'a2 6162 00 6161',
    ])
      expect(outcomesOf(fromHex(around + map)), `${around} ${order}`).toEqual(threeRejects)
  }
  for (const unsorted of [
    'a2 626262 01 6161 02',
    'a2 6162 01 6161 02',
    'a2 6162 a1 6161 01 6161 02',
    '82 a1 6161 01 a1 6161 01',
  ])
    expect(outcomesOf(fromHex(unsorted)), unsorted).toEqual(threeRows)
})

test('255 lists or maps lie inside a record, and no more', () => {
  const deep = (levels: number, open: string) => fromHex(`${open.repeat(levels)}00`)
  for (const open of ['81', 'a16162']) {
    expect(outcomesOf(deep(255, open))).toEqual(threeRows)
    expect(outcomesOf(deep(256, open))).toEqual(['RecordTooDeep', 'RecordTooDeep', 'RecordTooDeep'])
  }
})

test('a link is tag 42 on bytes that start with a zero and go on with a CID', () => {
  const cid = `0171 1220 ${'07'.repeat(32)}`
  expect(outcomesOf(fromHex(`d82a 5825 00 ${cid}`))).toEqual(threeRows)
  for (const hex of [
    `d82b 5825 00 ${cid}`,
    `d829 5825 00 ${cid}`,
    `d82a 5825 01 ${cid}`,
    `d82a 5824 ${cid}`,
    `d82a 7825 00 ${cid}`,
    'd82a 40',
    'd82a 41 00',
  ])
    expect(outcomesOf(fromHex(hex)), hex).toEqual(threeRejects)
})

function encode(value: unknown): Uint8Array {
  return Uint8Array.from(encodeRecord(value))
}
