// The CAR reader by itself: it takes every cut of the input, knows its place, and stops where its sink says so.
import { expect, test } from 'vitest'
import { buildRepo, generateRecords, makeDid, makeSigningKey } from '../fixtures/index.ts'
import { CarReader } from './car.ts'
import { defaultLimits } from './limits.ts'
import { slabOver } from './slab.ts'

const repo = buildRepo({
  did: makeDid('car'),
  signingKey: makeSigningKey('car'),
  records: generateRecords({ seed: 'car', count: 20 }),
})
const car = Uint8Array.from(repo.car)
const blocks = [...repo.carBlocks('pds')]

test('gives every block where it lies, wherever the input is cut', () => {
  const slab = slabOver(car)
  for (let cut = 0; cut <= car.length; cut++) {
    const reader = new CarReader(defaultLimits)
    const found: string[] = []
    const sink = ({ bytes }: { bytes: Uint8Array }, _start: number, data: number, end: number) => {
      found.push(Buffer.from(bytes.subarray(data - 36, end)).toString('hex'))
      return true
    }
    const rest = reader.parse(slab, 0, cut, sink)
    expect(reader.offset).toBe(rest)
    expect(reader.waitingBytes + rest === car.length + 1 || reader.waitingBytes + rest > cut).toBe(true)
    expect(reader.parse(slab, rest, car.length, sink)).toBe(car.length)
    reader.end(0)
    expect(found).toEqual(blocks.map(({ cid, bytes }) => Buffer.concat([cid, bytes]).toString('hex')))
  }
})

test('says where an input was cut', () => {
  const slab = slabOver(car)
  const reader = new CarReader(defaultLimits)
  const rest = reader.parse(slab, 0, car.length - 1, () => true)
  expect(() => reader.end(car.length - 1 - rest)).toThrow(
    expect.objectContaining({ code: 'CarTruncated', offset: rest }),
  )
  expect(() => new CarReader(defaultLimits).end(0)).toThrow(
    expect.objectContaining({ code: 'CarTruncated', offset: 0 }),
  )
})

test('gives a block again that its sink did not take', () => {
  const slab = slabOver(car)
  const reader = new CarReader(defaultLimits)
  let asked = 0
  const starts = new Set<number>()
  let at = 0
  while (at < car.length) {
    at = reader.parse(slab, at, car.length, (_slab, start) => {
      starts.add(start)
      return ++asked % 2 === 0
    })
  }
  expect(starts.size).toBe(blocks.length)
  expect(asked).toBe(2 * blocks.length)
})

test('counts offsets from the start of the CAR, whatever slab the bytes are in', () => {
  const reader = new CarReader(defaultLimits)
  const first = reader.parse(slabOver(car), 0, 1000, () => true)
  const bad = Uint8Array.from(car.subarray(first))
  bad[4] = 0x55
  expect(() => reader.parse(slabOver(bad), 0, bad.length, () => true)).toThrow(
    expect.objectContaining({ code: 'CidUnsupported', offset: expect.any(Number) }),
  )
  expect(reader.offset).toBe(first)
})
