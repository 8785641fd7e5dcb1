// Single columns at the edges of what they hold, each by itself, in a list and in JSON.

import { CID } from 'multiformats/cid'
import { encodeRecord } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import { resolveConfig } from '../config-resolve.ts'
import { projectionLimits } from './limits.ts'
import { createTestProjection } from './testing-settle.ts'
import { type Plain, readFields } from './testing-slow-way.ts'

const collection = 'com.example.one'
const types = {
  n: 'int8',
  ns: 'int8[]',
  b: 'bool',
  bs: 'bool[]',
  t: 'timestamptz',
  ts: 'timestamptz[]',
  s: 'text',
  ss: 'text[]',
  j: 'jsonb',
  c: 'cid',
  cs: 'cid[]',
  y: 'bytea',
  ys: 'bytea[]',
  u: 'at-uri',
  d: 'did',
  blob: 'blob',
} as const
const projection = createTestProjection(await resolveConfig({ collections: { [collection]: { columns: types } } }))
const { maxIndexedBytes, maxTextBytes, maxArrayLength, maxJsonBytes } = projectionLimits

interface Row {
  values: Record<string, Plain>
  oddities: string[]
}

function rowOf(record: Record<string, unknown>, by = projection): Row {
  const { table, fields, oddities } = by.settleAs(
    collection,
    Uint8Array.from(encodeRecord({ $type: collection, ...record })),
  )
  if (table === undefined || fields === undefined) throw new Error('the record is no row')
  const plain = readFields(table, fields)
  return { values: Object.fromEntries(table.columns.map(({ name }, i) => [name, plain[i] ?? null])), oddities }
}

test('integers of up to 64 bits with sign are exact', () => {
  for (let bit = 0n; bit < 63n; bit++) {
    for (const near of [-2n, -1n, 0n, 1n]) {
      const size = (1n << bit) + near
      for (const n of [size, -size]) {
        const { values, oddities } = rowOf({ n, ns: [n, n], j: { n } })
        expect(values).toMatchObject({ n, ns: [n, n], j: `{"n":${n}}` })
        expect(oddities).toEqual([])
      }
    }
  }
  for (const n of [2n ** 63n - 1n, -(2n ** 63n)])
    expect(rowOf({ n, j: n })).toMatchObject({ values: { n, j: `${n}` }, oddities: [] })
  for (const n of [2n ** 63n, -(2n ** 63n) - 1n, 2n ** 64n - 1n, -(2n ** 64n)])
    expect(rowOf({ n, ns: [1n, n], j: n })).toMatchObject({
      values: { n: null, ns: [1n, null], j: `${n}` },
      oddities: ['n IntegerOutOfRange', 'ns IntegerOutOfRange'],
    })
})

test('integers in JSON have all their digits, from one to twenty', () => {
  for (let digits = 0n; digits < 20n; digits++) {
    for (const n of [10n ** digits - 1n, 10n ** digits, 10n ** digits + 1n, -(10n ** digits)])
      expect(rowOf({ j: n < 2n ** 64n ? n : 0 }).values.j).toBe(`${n}`)
  }
})

test('a list has 65,536 elements at most', () => {
  const bs = new Array<boolean>(maxArrayLength).fill(true)
  expect(rowOf({ bs }).values.bs).toHaveLength(maxArrayLength)
  expect(rowOf({ bs: [...bs, true] })).toMatchObject({ values: { bs: null }, oddities: ['bs ArrayTooLong'] })
})

test('JSON text is kept up to its limit, as it is before words shorten it', () => {
  const escapes = '\u0001'.repeat(Math.floor((maxJsonBytes - 3) / 6))
  const fits = escapes + 'x'.repeat(maxJsonBytes - 3 - escapes.length * 6)
  expect(rowOf({ j: fits })).toMatchObject({ oddities: [] })
  expect(rowOf({ j: `${fits}x` })).toMatchObject({ values: { j: null }, oddities: ['j JsonTooLong'] })
})

test('text is kept up to its limit, before and after it was repaired', () => {
  for (const [text, odd] of [
    ['x'.repeat(maxTextBytes), undefined],
    ['x'.repeat(maxTextBytes + 1), 'TextTooLong'],
    [`${'x'.repeat(maxTextBytes - 3)}\0`, 'TextNul'],
    [`${'x'.repeat(maxTextBytes - 2)}\0`, 'TextTooLong'],
  ] as const) {
    for (const name of ['s', 'u', 'd']) {
      const value = odd === 'TextTooLong' ? null : text.replace('\0', '\ufffd')
      expect(rowOf({ [name]: text }).oddities).toEqual(odd === undefined ? [] : [`${name} ${odd}`])
      expect(rowOf({ [name]: text }).values[name] === value).toBe(true)
    }
  }
})

test('an indexed value is kept up to what an index entry holds, counted as it is shown', async () => {
  const columns = { s: 'text', u: 'at-uri', d: 'did', y: 'bytea' } as const
  const config = await resolveConfig({ collections: { [collection]: { columns, indexes: Object.keys(columns) } } })
  const indexed = createTestProjection(config)
  for (const start of ['', '=', 'at://', 'at://did:plc:', 'did:plc:', 'did:']) {
    const text = start.padEnd(maxIndexedBytes, 'x')
    expect(rowOf({ s: text, u: text, d: text }, indexed)).toEqual({
      values: { s: text, u: text, d: text, y: null },
      oddities: [],
    })
    const more = `${text}x`
    expect(rowOf({ s: more, u: more, d: more }, indexed)).toEqual({
      values: { s: null, u: null, d: null, y: null },
      oddities: ['s TextTooLongForIndex', 'u TextTooLongForIndex', 'd TextTooLongForIndex'],
    })
  }
  expect(rowOf({ y: new Uint8Array(maxIndexedBytes) }, indexed)).toMatchObject({ oddities: [] })
  expect(rowOf({ y: new Uint8Array(maxIndexedBytes + 1) }, indexed)).toMatchObject({
    values: { y: null },
    oddities: ['y TextTooLongForIndex'],
  })
  expect(rowOf({ y: new Uint8Array(maxIndexedBytes + 1) })).toMatchObject({ oddities: [] })
})

test('a link is kept up to 100 bytes, by itself and in a list', () => {
  const link = (length: number) => CID.decode(Uint8Array.from([1, 0x55, 0, length - 4, ...new Uint8Array(length - 4)]))
  const hex = (length: number) => Buffer.from(link(length).bytes).toString('hex')
  for (const length of [4, 5, 31, 32, 33, 35, 36, 37, 99, 100])
    expect(rowOf({ c: link(length), cs: [link(length)] })).toMatchObject({
      values: { c: hex(length), cs: [hex(length)] },
      oddities: [],
    })
  expect(rowOf({ c: link(101), cs: [link(4), link(101)] })).toMatchObject({
    values: { c: null, cs: [hex(4), null] },
    oddities: ['c CidMalformed', 'cs CidMalformed'],
  })
})

test('of a list the first oddity is told, and its other elements are kept', () => {
  const { values, oddities } = rowOf({
    ss: ['a', 'b\0', 7, null, ''],
    ts: ['2000-01-01T00:00:00.0000001Z', 'now'],
    bs: [true, null, 'x', false],
  })
  expect(values).toMatchObject({ ss: ['a', 'b\ufffd', null, null, ''], ts: [0n, null], bs: [true, null, null, false] })
  expect(oddities).toEqual(['bs WrongType', 'ts DatetimeTooFine', 'ss TextNul'])
  expect(rowOf({ ss: [7, 'b\0'] }).oddities).toEqual(['ss WrongType'])
})

test('each column has its own oddity, whatever the one before it had', () => {
  expect(rowOf({ s: 'a\0', j: ['a'] }).oddities).toEqual(['s TextNul'])
  expect(rowOf({ j: ['\0'], u: 'b', d: 'did:plc:x' }).oddities).toEqual(['j TextNul'])
})

test('a float in JSON is the shortest text that is read as it, and a negative zero becomes 0', () => {
  // The encoder makes integers of whole numbers.
  const readFloats = (...values: number[]) => {
    const floats = values.map((value) => {
      const bytes = Buffer.alloc(9, 0xfb)
      bytes.writeDoubleBE(value, 1)
      return bytes
    })
    const block = Buffer.concat([Buffer.of(0xa1, 0x61, 0x6a, 0x80 | values.length), ...floats])
    const { table, fields, oddities } = projection.settleAs(collection, Uint8Array.from(block))
    return {
      j: table && fields && readFields(table, fields)[table.columns.findIndex(({ name }) => name === 'j')],
      oddities,
    }
  }
  expect(readFloats(1.5, 0, 1e300, 5e-324, -2)).toEqual({ j: '[1.5,0,1e+300,5e-324,-2]', oddities: [] })
  expect(readFloats(1, -0)).toEqual({ j: '[1,0]', oddities: ['j NegativeZero'] })
})

test('of a blob the parts that are there are kept, also where its CID is text or it has nulls', () => {
  const cid = 'bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq'
  const hex = Buffer.from(CID.parse(cid).bytes).toString('hex')
  const all = { blob_cid: hex, blob_mime: 'image/png', blob_size: 7n }
  const blob = { $type: 'blob', ref: CID.parse(cid), mimeType: 'image/png', size: 7 }
  const nothing = { blob_cid: null, blob_mime: null, blob_size: null }
  expect(rowOf({ blob })).toMatchObject({ values: all, oddities: [] })
  expect(rowOf({ blob: { cid, mimeType: 'image/png' } })).toMatchObject({
    values: { ...all, blob_size: null },
    oddities: [],
  })
  expect(rowOf({ blob: { ...blob, ref: null, cid } })).toMatchObject({ values: all, oddities: [] })
  expect(rowOf({ blob: { ref: null, cid: null, size: null } })).toMatchObject({ values: nothing, oddities: [] })
  expect(rowOf({ blob: 'none' })).toMatchObject({ values: nothing, oddities: ['blob_cid WrongType'] })
  expect(rowOf({ blob: { ref: 1, mimeType: 1, size: 'x' } })).toMatchObject({
    values: nothing,
    oddities: ['blob_cid WrongType', 'blob_mime WrongType', 'blob_size WrongType'],
  })
})

test('a value is of the first path that leads to one, and of a wrong type when a path is blocked and none leads to one', async () => {
  const columns = { s: { type: 'text', paths: ['a.b', 'c', 'd.e'] } } as const
  const other = createTestProjection(await resolveConfig({ collections: { [collection]: { columns } } }))
  const blocked = { values: { s: null }, oddities: ['s WrongType'] }
  expect(rowOf({ a: 1 }, other)).toEqual(blocked)
  expect(rowOf({ d: 1 }, other)).toEqual(blocked)
  expect(rowOf({ a: 1, c: null, d: {} }, other)).toEqual(blocked)
  expect(rowOf({ a: null, c: null, d: null }, other)).toEqual({ values: { s: null }, oddities: [] })
  expect(rowOf({ a: 1, d: { e: 'x' } }, other)).toEqual({ values: { s: 'x' }, oddities: [] })
  expect(rowOf({ a: { b: 'y' }, c: 'z', d: { e: 'x' } }, other)).toEqual({ values: { s: 'y' }, oddities: [] })
  expect(rowOf({ a: { b: null }, c: 'z', d: 1 }, other)).toEqual({ values: { s: 'z' }, oddities: [] })
})

test('there is room for several columns of what grows most', async () => {
  const same = { type: 'jsonb', path: 'j' } as const
  const columns = { j: 'jsonb', k: same, l: same } as const
  const other = createTestProjection(await resolveConfig({ collections: { [collection]: { columns } } }))
  const text = `[${new Array(20_000).fill('{"$bytes":""}').join(',')}]`
  const { values } = rowOf({ j: new Array(20_000).fill(new Uint8Array(0)) }, other)
  for (const name of ['j', 'k', 'l']) expect(values[name] === text).toBe(true)
})

test('there is room for the original of each odd value, also of a large one that many columns share', async () => {
  const names = Array.from({ length: 40 }, (_, i) => `c${i}`)
  const columns = Object.fromEntries(names.map((name) => [name, { type: 'text', path: `a.${name}` }] as const))
  const other = createTestProjection(await resolveConfig({ collections: { [collection]: { columns } } }))
  const a = 'x'.repeat(50_000)
  const { oddities, originals } = other.settleAs(collection, Uint8Array.from(encodeRecord({ $type: collection, a })))
  expect(oddities).toEqual(names.map((name) => `${name} WrongType`))
  for (const original of originals) expect(Buffer.from(original).equals(encodeRecord(a))).toBe(true)
})
