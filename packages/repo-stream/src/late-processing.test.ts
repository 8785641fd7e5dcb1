// Records that are processed while the walk comes to them: made once for as many keys as name them, and some MiB in a chunk.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { finish } from '../fixtures/driving.ts'
import { keysOfHeight } from '../fixtures/hostile-case.ts'
import type { CarBlock } from '../fixtures/index.ts'
import { rawCar, rawNode, rawRecord } from '../fixtures/raw-repo.ts'
import { type LoadOptions, spillPath } from './index.ts'

const dir = mkdtempSync(join(tmpdir(), 'repo-stream-late-'))
const keys = keysOfHeight(0, 400)
const mebibyte = 1024 * 1024
/** Two that are kept as they came, because they look like nodes. */
const nodeLike = ['x', 'y'].map((char) => rawRecord({ e: [], l: char.repeat(mebibyte) }))
const plain = ['x', 'y'].map((char) => rawRecord({ text: char.repeat(mebibyte) }))

afterAll(() => rmSync(dir, { recursive: true }))

const places: readonly [string, LoadOptions][] = [
  ['memory', {}],
  ['disk', { memoryLimitBytes: 1 }],
]

test.each(places)(
  'a record that looks like a node is processed once for all of its keys, in %s',
  async (_, options) => {
    let calls = 0
    const process = (block: Uint8Array): Uint8Array => {
      calls++
      return block.subarray(0, 1000)
    }
    const chunks = await walk(nodeLike.slice(0, 1), { ...options, process })
    expect(calls).toBe(1)
    expect(chunks.flat()).toEqual(keys.map((key) => ({ key, bytes: 1000, last: 'x', failed: false })))
  },
)

test.each(places)('a chunk has a few MiB of what was processed for it, in %s', async (_, options) => {
  const chunks = await walk(nodeLike, { ...options, process: (block) => block })
  expect(Math.max(...chunks.map((chunk) => chunk.length))).toBeLessThanOrEqual(5)
  expect(chunks.flat()).toEqual(
    keys.map((key, i) => ({ key, bytes: nodeLike[0]?.bytes.length, last: 'xy'[i % 2], failed: false })),
  )
})

test('a record on which process threw lies in the memory of the load under each of its keys', async () => {
  const process = (): Uint8Array => {
    throw new Error('no')
  }
  const car = carOf(plain)
  const { driver } = await finish([car], { process }, undefined)
  const held = heldBytes()
  const entries = (await driver.nextChunk(keys.length)) ?? []
  expect(heldBytes() - held).toBeLessThan(mebibyte)
  expect(new Set(entries.map(({ data }) => data.byteOffset)).size).toBeLessThanOrEqual(2)
  expect(entries.map(({ key, error }) => [key, error instanceof Error])).toEqual(keys.map((key) => [key, true]))
  await driver.close()
})

/** The records by turns under all keys. */
function carOf(records: readonly CarBlock[]): Uint8Array {
  const value = (i: number): CarBlock => records[i % records.length] ?? rawRecord({})
  return rawCar(rawNode(keys.map((key, i) => ({ key, value: value(i) }))), records)
}

interface Seen {
  key: string
  bytes: number
  last: string
  failed: boolean
}

async function walk(records: readonly CarBlock[], options: LoadOptions): Promise<Seen[][]> {
  const { driver } = await finish([carOf(records)], options, spillPath(dir))
  const chunks: Seen[][] = []
  for (let chunk = await driver.nextChunk(1000); chunk; chunk = await driver.nextChunk(1000)) {
    chunks.push(
      chunk.map(({ key, data, error }) => {
        const last = String.fromCharCode(data.at(-1) ?? 0)
        return { key, bytes: data.length, last, failed: error !== undefined }
      }),
    )
  }
  await driver.close()
  return chunks
}

function heldBytes(): number {
  return process.memoryUsage().arrayBuffers
}
