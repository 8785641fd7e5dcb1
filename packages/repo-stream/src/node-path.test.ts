// Nodes that are read ahead: a fault in one is met where the walk comes to it, no earlier and as the same error.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { buildRepo, type CarBlock, generateRecords, makeDid, makeSigningKey, writeCar } from '../fixtures/index.ts'
import { loadCar, openDiskStore, RepoStreamError, spillPath } from './index.ts'
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
