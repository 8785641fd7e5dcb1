import { createRandom } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import { MissingIds, packIds, unpackIds } from './sightings.ts'

test('ids come back as they went in, in ascending order, also beyond 32 bits', () => {
  const ids = [5, 1, 128, 2 ** 31, 2 ** 32 + 7, 2 ** 52, 127, 16_384]
  expect([...unpackIds(packIds(ids))]).toEqual(ids.toSorted((a, b) => a - b))
  expect([...unpackIds(packIds([]))]).toEqual([])
})

test('neighbours take a byte, a thousand strangers of 43 million not three each', () => {
  const neighbours = Array.from({ length: 1000 }, (_, index) => 40_000_000 + index)
  expect(packIds(neighbours).length).toBeLessThan(1010)
  const random = createRandom('ids')
  const strangers = Array.from({ length: 1000 }, () => random.below(43_000_000))
  expect(packIds([...new Set(strangers)]).length).toBeLessThan(3000)
})

test('who was there before and is not now is missing, and nobody else', () => {
  const random = createRandom('missing')
  const before = new Set(Array.from({ length: 5000 }, () => random.below(300_000)))
  const now = new Set([...before].filter(() => random.chance(0.9)))
  const missing = new MissingIds()
  for (const id of before) missing.add(id)
  for (const id of [...now, 299_999_999]) missing.delete(id)
  expect([...missing].sort((a, b) => a - b)).toEqual([...before].filter((id) => !now.has(id)).sort((a, b) => a - b))
})

test('ids that lie too far apart are left out when there are too many, so that memory is bounded', () => {
  const missing = new MissingIds()
  for (let index = 0; index < 10_000; index++) missing.add(index * 65_536)
  expect([...missing]).toHaveLength(8192)
})
