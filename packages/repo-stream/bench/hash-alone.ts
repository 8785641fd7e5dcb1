// The floor of verification: SHA-256 of every block and every key of a CAR with the primitives that the walk uses, and
// nothing else. Where blocks and keys stand is found before the clock runs.
import { readFile } from 'node:fs/promises'
import { CarReader } from '../src/car.ts'
import { loadCar } from '../src/index.ts'
import { keyHeight } from '../src/key-height.ts'
import { defaultLimits } from '../src/limits.ts'
import { hasDigest, zeroPairs } from '../src/sha256.ts'
import { batchBytes, batchMessages, createLanes, maxLaneBytes } from '../src/sha256-lanes.ts'
import { slabOver, viewOf } from '../src/slab.ts'
import type { Side } from './sides.ts'

export const hashAlone: Side = async (path) => {
  const bytes = new Uint8Array(await readFile(path))
  const slab = slabOver(bytes)
  const places: number[] = []
  new CarReader(defaultLimits).parse(slab, 0, bytes.length, (_slab, _start, data, end) => {
    places.push(data, end)
    return true
  })
  const blocks = Float64Array.from(places)
  const keys = await keysOf(bytes)
  return () => {
    for (let i = 0; i < blocks.length; i += 2) {
      const data = blocks[i] ?? 0
      if (!hasDigest(viewOf(slab, data, blocks[i + 1] ?? 0), slab.view, data - 32)) throw new Error('a wrong hash')
    }
    hashKeys(keys)
    return { records: keys.heights.length, bytes: bytes.length }
  }
}

interface PackedKeys {
  bytes: Buffer
  ends: Uint32Array
  heights: Uint8Array
}

const hashes = createLanes()

function hashKeys({ bytes, ends, heights }: PackedKeys): void {
  let from = 0
  let start = 0
  let used = 0
  for (let i = 0; i < ends.length; i++) {
    const to = ends[i] ?? 0
    const height = heights[i] ?? 0
    if (used === batchMessages || to - start > batchBytes) {
      checkBatch(bytes, { start, end: from, used })
      used = 0
    }
    if (used === 0) start = from
    if (hashes !== undefined && to - from <= maxLaneBytes) hashes.put(used++, from - start, to - start, height)
    else if (zeroPairs(bytes.subarray(from, to)) !== height) throw new Error('a wrong height')
    from = to
  }
  checkBatch(bytes, { start, end: from, used })
}

function checkBatch(bytes: Buffer, { start, end, used }: { start: number; end: number; used: number }): void {
  if (used > 0 && hashes?.check(bytes, start, end, used) !== -1) throw new Error('a wrong height')
}

async function keysOf(bytes: Uint8Array): Promise<PackedKeys> {
  const car = await loadCar(bytes, { memoryLimitBytes: 2 ** 40, verifyHashes: false })
  if (car.kind === 'disk') throw new Error('the memory limit was reached')
  const keys: string[] = []
  for (let chunk = await car.driver.nextChunk(1_000); chunk; chunk = await car.driver.nextChunk(1_000)) {
    for (const { key } of chunk) keys.push(key)
  }
  await car.driver.close()
  let end = 0
  const ends = Uint32Array.from(keys, (key) => (end += key.length))
  return { bytes: Buffer.from(keys.join(''), 'latin1'), ends, heights: Uint8Array.from(keys, (key) => keyHeight(key)) }
}
