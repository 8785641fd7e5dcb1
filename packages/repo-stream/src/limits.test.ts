// Options that are limits: what is no limit is refused, because it would switch the limit off.
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { expect, test } from 'vitest'
import { loadCar, openDiskStore, spillPath } from './index.ts'

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
