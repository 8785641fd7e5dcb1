// The table of digests: it finds what was put in, among digests that were made to collide, and stays small.
import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { DigestIndex, digestHash, sameDigest } from './digest-index.ts'
import { slabOver } from './slab.ts'

const count = 20_000

function digests(make: (i: number, digest: Buffer) => void): Uint8Array {
  const bytes = new Uint8Array(count * 32)
  for (let i = 0; i < count; i++) make(i, Buffer.from(bytes.buffer, i * 32, 32))
  return bytes
}

test.each([
  ['random digests', (i: number, digest: Buffer) => createHash('sha256').update(String(i)).digest().copy(digest)],
  ['digests that differ in one word only', (i: number, digest: Buffer) => digest.writeUInt32BE(i, 28)],
  [
    'digests that differ in the top bits of their words only',
    (i: number, digest: Buffer) => {
      for (let word = 0; word < 8; word++) digest[word * 4] = ((i >> (word * 2)) & 3) << 6
    },
  ],
] as const)('%s are found, in few steps', (_, make) => {
  const { bytes, view } = slabOver(digests(make))
  const index = new DigestIndex()
  for (let i = 0; i < count; i++) {
    if (index.isFull) index.grow()
    index.insert(digestHash(view, i * 32), i)
  }
  let steps = 0
  for (let i = 0; i < count; i++) {
    const hash = digestHash(view, i * 32)
    let slot = (hash >>> index.shift) * 2
    for (; ; slot = (slot + 2) & (index.slots.length - 1)) {
      steps++
      const address = (index.slots[slot + 1] ?? 0) - 1
      expect(address).toBeGreaterThanOrEqual(0)
      if (index.slots[slot] === hash && sameDigest(view, address * 32, view, i * 32)) break
    }
  }
  expect(steps / count).toBeLessThan(4)
  expect(bytes.length).toBe(count * 32)
  expect(index.bytes / count).toBeLessThanOrEqual(22)
  expect([...index.addresses().sort()]).toEqual([...Array(count).keys()])
})

test('a table grows in few steps to what is expected, and keeps what it holds', () => {
  const { view } = slabOver(digests((i, digest) => createHash('sha256').update(String(i)).digest().copy(digest)))
  const index = new DigestIndex()
  let steps = 0
  for (let i = 0; i < count; i++) {
    if (index.isFull) {
      index.grow(index.doublingsFor(count))
      steps++
    }
    index.insert(digestHash(view, i * 32), i)
  }
  expect(steps).toBe(5)
  expect(index.bytes / count).toBeLessThanOrEqual(22)
  expect([...index.addresses().sort()]).toEqual([...Array(count).keys()])
  expect(index.doublingsFor(0)).toBe(1)
})

test('however many blocks the first ones let expect, a table takes at most 48 bytes for each that is there', () => {
  const index = new DigestIndex()
  for (let i = 0; i < 10_000; i++) {
    if (index.isFull) {
      index.grow(index.doublingsFor(2 ** 40))
      expect(index.bytes / index.count).toBeLessThanOrEqual(48)
    }
    index.insert(i * 2_654_435_761, i)
  }
})

test('a table of the smallest size is empty when it is used again', () => {
  const { view } = slabOver(digests((i, digest) => digest.writeUInt32BE(i, 28)))
  const first = new DigestIndex()
  for (let i = 0; i < 20; i++) first.insert(digestHash(view, i * 32), i)
  const { slots } = first
  first.free()
  const second = new DigestIndex()
  expect(second.slots).toBe(slots)
  expect(second.addresses()).toEqual(new Uint32Array(0))
  expect(second.slots.every((word) => word === 0)).toBe(true)
})
