// Memory that goes from one load to the next, and that which does not.
import { expect, test } from 'vitest'
import { freeSlab, newSlab } from './slab.ts'

const MiB = 1024 * 1024

test('a slab that was freed is the next one of its size, wherever that lies', () => {
  const slab = newSlab(64 * 1024)
  freeSlab(slab)
  const next = newSlab(64 * 1024, 3 * 64 * 1024)
  expect(next.bytes).toBe(slab.bytes)
  expect(next.base).toBe(3 * 64 * 1024)
  expect(newSlab(64 * 1024).bytes).not.toBe(slab.bytes)
})

test('more than 4 MiB, and slabs of sizes that few have, are not kept', () => {
  const slabs = Array.from({ length: 6 }, () => newSlab(MiB))
  const odd = newSlab(MiB + 16 * 1024)
  for (const slab of [odd, ...slabs]) freeSlab(slab)
  expect(odd.buffer).toMatchObject({ detached: true })
  expect(slabs.map(({ buffer }) => 'detached' in buffer && buffer.detached)).toEqual([
    false,
    false,
    false,
    false,
    true,
    true,
  ])
})
