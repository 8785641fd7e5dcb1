// Spilled walks whose order scatters the tree, so that blocks are brought into groups: what is held of a group is bounded.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { CountingBudget, pieces } from '../fixtures/driving.ts'
import { heldBytes } from '../fixtures/held-bytes.ts'
import { keysOfHeight } from '../fixtures/hostile-case.ts'
import { buildRepo, type CarBlock, generateRecords, makeDid, makeSigningKey, writeCar } from '../fixtures/index.ts'
import { rawCommit, rawNode, rawRecord } from '../fixtures/raw-repo.ts'
import { loadCar, type MemoryBudget, openDiskStore, spillPath } from './index.ts'

const dir = mkdtempSync(join(tmpdir(), 'repo-stream-regroup-'))
const mebibyte = 1024 * 1024
const memoryLimitBytes = 100_000
const cacheBytes = 200_000

afterAll(() => rmSync(dir, { recursive: true }))

test('a leaf whose records take many MiB is not read as one group', async () => {
  const budget = new CountingBudget()
  const { keys, mostHeld, rewritten } = await walk(largeLeaf(), budget)
  expect(rewritten).toBe(true)
  expect(keys).toBe(5001)
  expect(mostHeld).toBeLessThan(3 * mebibyte)
  expect(budget.held).toBe(0)
})

test('a group is asked of the budget, and where that has no more the walk does without', async () => {
  const repo = buildRepo({
    did: makeDid('regroup'),
    signingKey: makeSigningKey('regroup'),
    records: generateRecords({ seed: 'regroup', count: 9000 }),
  })
  const car = repo.toCar('digest')
  const free = new CountingBudget()
  const grouped = await walk(car, free)
  expect(grouped).toMatchObject({ keys: 9000, rewritten: true })
  expect(free.most).toBeGreaterThan(grouped.mostHeld)
  const tight = new CountingBudget(free.most / 2)
  const ungrouped = await walk(car, tight)
  expect(ungrouped).toMatchObject({ keys: 9000, rewritten: true })
  expect(ungrouped.mostHeld).toBeLessThan(grouped.mostHeld / 2)
  expect([free.held, tight.held]).toEqual([0, 0])
})

/** Keys of small records, then a leaf of 900 records of 16 KB, all in the order of their digests. */
function largeLeaf(): Uint8Array {
  const blocks: CarBlock[] = []
  const kept = (block: CarBlock): CarBlock => {
    blocks.push(block)
    return block
  }
  const entries = (keys: readonly string[], bytes: number): { key: string; value: CarBlock }[] =>
    keys.map((key) => ({ key, value: kept(rawRecord({ key, text: 'x'.repeat(bytes) })) }))
  const low = keysOfHeight(0, 4096)
  const middle = keysOfHeight(1, 5, low.at(-1))
  const left = kept(rawNode(entries(low, 100)))
  const right = kept(rawNode(entries(keysOfHeight(0, 900, middle.at(-1)), 16_000)))
  const between = entries(middle, 100).map((entry, i) => (i === 4 ? { ...entry, tree: right } : entry))
  const commit = rawCommit(kept(rawNode(between, left)))
  return writeCar([commit.cid], [commit, ...blocks.sort((one, other) => Buffer.compare(one.cid, other.cid))])
}

/** `rewritten`: the blocks were written once more, in groups. `mostHeld`: above what was held when the walk began. */
async function walk(
  bytes: Uint8Array,
  budget: MemoryBudget,
): Promise<{ keys: number; mostHeld: number; rewritten: boolean }> {
  const car = await loadCar(pieces(bytes, 60_000), { memoryLimitBytes, budget })
  if (car.kind !== 'disk') throw new Error('the load was not suspended')
  const disk = new CountingBudget()
  const store = await openDiskStore(spillPath(dir), { cacheBytes, budget: disk })
  const { driver } = await car.finishLoading(store)
  const before = heldBytes()
  let keys = 0
  let mostHeld = 0
  for (let at = 0; ; at++) {
    const chunk = await driver.nextChunk(64)
    if (chunk === undefined) break
    keys += chunk.length
    if (at % 10 === 9) mostHeld = Math.max(mostHeld, heldBytes() - before)
  }
  expect(disk.held).toBe(store.storedBytes) // also after it was asked whether there is room to write all once more
  await driver.close()
  expect(disk.held).toBe(0)
  return { keys, mostHeld, rewritten: store.storedBytes > 1.8 * bytes.length }
}
