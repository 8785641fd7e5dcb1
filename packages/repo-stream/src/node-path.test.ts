// Nodes that are read ahead: a fault in one is met where the walk comes to it, no earlier and as the same error. And what the
// nodes of a path take: large ones are neither read ahead nor held longer than the walk is in them.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { finish } from '../fixtures/driving.ts'
import { heldBytes } from '../fixtures/held-bytes.ts'
import { keysOfHeight } from '../fixtures/hostile-case.ts'
import { buildRepo, type CarBlock, generateRecords, makeDid, makeSigningKey, writeCar } from '../fixtures/index.ts'
import { rawCar, rawNode, rawRecord } from '../fixtures/raw-repo.ts'
import { keyHeight, loadCar, openDiskStore, RepoStreamError, spillPath } from './index.ts'
import { looksLikeNode } from './section.ts'

const dir = mkdtempSync(join(tmpdir(), 'repo-stream-node-path-'))
const repo = buildRepo({
  did: makeDid('node path'),
  signingKey: makeSigningKey('node path'),
  records: generateRecords({ seed: 'node path', count: 400 }),
})
const blocks = [...repo.carBlocks('pds')]
const nodes = blocks.filter(({ bytes }) => looksLikeNode(bytes, 0, bytes.length))

afterAll(() => rmSync(dir, { recursive: true }))

test.each([
  ['cut short', (bytes: Uint8Array) => bytes.subarray(0, bytes.length - 1)],
  ['that counts an entry too many', (bytes: Uint8Array) => bytes.map((byte, at) => (at === 3 ? byte + 1 : byte))],
  ['with another key', (bytes: Uint8Array) => bytes.map((byte, i) => (i === 9 ? byte ^ 1 : byte))],
] as const)(
  'a node %s is refused where the walk comes to it, as by a walk that reads no node ahead',
  async (_, damage) => {
    expect(nodes.length).toBeGreaterThan(60)
    for (const node of nodes) {
      const damaged = blocks.map((block) => (block === node ? { ...block, bytes: damage(block.bytes) } : block))
      const ahead = await outcome(damaged, undefined)
      expect(ahead.code).toMatch(/Invalid|Missing/)
      expect(ahead).toEqual(await outcome(damaged, 1))
    }
  },
)

test('siblings of 4,096 entries are not read ahead: the walk holds the offsets of one', async () => {
  const value = rawRecord({})
  const low = keysOfHeight(0, 4096)
  const leaf = rawNode(low.map((key) => ({ key, value })))
  const root = rawNode(
    keysOfHeight(1, 15, low.at(-1)).map((key) => ({ key, value, tree: leaf })),
    leaf,
  )
  const { driver } = await finish(rawCar(root, [leaf, value]), {})
  const before = heldBytes()
  expect(await driver.nextChunk(1)).toHaveLength(1)
  expect(heldBytes() - before).toBeLessThan(300_000)
  await driver.close()
})

test('a spilled walk does not hold on to a large node that it has left', async () => {
  const value = rawRecord({})
  const low = longKeys(4096)
  const leaf = rawNode(low.map((key) => ({ key, value })))
  const root = rawNode(
    keysOfHeight(1, 200, low.at(-1)).map((key) => ({ key, value })),
    leaf,
  )
  const car = await loadCar([rawCar(root, [leaf, value])], { memoryLimitBytes: 1 })
  if (car.kind !== 'disk') throw new Error('the load was not suspended')
  const { driver } = await car.finishLoading(await openDiskStore(spillPath(dir), { cacheBytes: 65_536 }))
  const held: number[] = []
  for (let keys = 0; keys < 4200; keys += 100) {
    expect(await driver.nextChunk(100)).toHaveLength(100)
    if (keys === 2000 || keys === 4100) held.push(heldBytes())
  }
  await driver.close()
  const [within = 0, behind = 0] = held
  expect(leaf.bytes.length).toBeGreaterThan(1_500_000)
  expect(within - behind).toBeGreaterThan(leaf.bytes.length)
})

/** Keys of height 0 and 400 characters, below all others of these tests. */
function longKeys(count: number): string[] {
  const found: string[] = []
  for (let i = 0; found.length < count; i++) {
    const key = `a.b.a/${i.toString(36).padStart(4, '0')}${'x'.repeat(390)}`
    if (keyHeight(key) === 0) found.push(key)
  }
  return found
}

/** How the walk ends: its error, and the entries before it. */
async function outcome(
  damaged: readonly CarBlock[],
  memoryLimitBytes: number | undefined,
): Promise<{ code: string; entries: number; cid?: string | undefined; message?: string }> {
  const car = await loadCar(writeCar([repo.commit], damaged), { verifyHashes: false, memoryLimitBytes })
  const { driver } = car.kind === 'memory' ? car : await car.finishLoading(await openDiskStore(spillPath(dir)))
  let entries = 0
  try {
    while (await driver.nextChunk(1)) entries++
    return { code: 'none', entries }
  } catch (error) {
    if (!(error instanceof RepoStreamError)) throw error
    const { code, cid, message } = error
    return { code, cid, message, entries }
  } finally {
    await driver.close()
  }
}
