// Options that are limits: what is no limit is refused, because it would switch the limit off. What has just as much as a limit
// allows is walked.
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { expect, test } from 'vitest'
import { pieces, walkAll } from '../fixtures/driving.ts'
import { keyOfHeight, keysOfHeight } from '../fixtures/hostile-case.ts'
import { rawCar, rawNode, rawRecord } from '../fixtures/raw-repo.ts'
import { type Limits, loadCar, openDiskStore, spillPath } from './index.ts'

const noBytes: readonly unknown[] = [Number.NaN, -1, '100000', 10n, {}]

test.each(noBytes)('a memory limit of %o is a TypeError', async (memoryLimitBytes) => {
  const source: Iterable<Uint8Array> = {
    [Symbol.iterator]: () => {
      throw new Error('read')
    },
  }
  await expect(loadCar(source, { memoryLimitBytes } as object)).rejects.toThrow(TypeError)
})

test.each(noBytes)('a disk store with a limit or a cache of %o is a TypeError, and makes no file', async (bytes) => {
  for (const name of ['maxStoredBytes', 'cacheBytes']) {
    const path = spillPath(tmpdir())
    await expect(openDiskStore(path, { [name]: bytes })).rejects.toThrow(TypeError)
    expect(existsSync(path)).toBe(false)
  }
})

test('a limit may be endless', async () => {
  const store = await openDiskStore(spillPath(tmpdir()), { maxStoredBytes: Number.POSITIVE_INFINITY })
  await store.close()
})

/** A key above three others that hang from it. */
function smallRepo() {
  const value = rawRecord({ text: 'x'.repeat(5_000) })
  const below = keysOfHeight(0, 3)
  const top = keyOfHeight(1, below.at(-1))
  const leaf = rawNode(below.map((key) => ({ key, value })))
  const root = rawNode([{ key: top, value }], leaf)
  return { value, top, leaf, root, car: Uint8Array.from(rawCar(root, [leaf, value])) }
}

test.each([
  ['maxHeaderBytes', ({ car }) => car[0] ?? 0],
  ['maxBlockBytes', ({ value }) => value.bytes.length],
  ['maxBlocks', () => 4],
  ['maxTotalBytes', ({ car }) => car.length],
  ['maxNodeEntries', () => 3],
  ['maxDepth', () => 2],
  ['maxPathBytes', ({ root, leaf }) => root.bytes.length + leaf.bytes.length],
  ['maxKeyBytes', ({ top }) => top.length],
] satisfies [keyof Limits, (repo: ReturnType<typeof smallRepo>) => number][])(
  'a repo that has just as much as %s allows is walked, with one more it is refused',
  async (limit, countIn) => {
    const repo = smallRepo()
    const most = countIn(repo)
    for (const source of [() => repo.car, () => pieces(repo.car, 100)]) {
      expect(await walkAll(source(), { limits: { [limit]: most } })).toHaveLength(4)
      const refused = walkAll(source(), { limits: { [limit]: most - 1 } })
      await expect(refused).rejects.toMatchObject({ code: 'LimitExceeded', details: { limit, max: most - 1 } })
    }
  },
)
