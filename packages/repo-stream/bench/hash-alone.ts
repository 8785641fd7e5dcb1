// The floor of verification: SHA-256 of every block and every key of a CAR with the primitives that the walk uses, and
// nothing else. Where blocks and keys stand is found before the clock runs.
import { readFile } from 'node:fs/promises'
import { CarReader } from '../src/car.ts'
import { loadCar } from '../src/index.ts'
import { keyHeight } from '../src/key-height.ts'
import { defaultLimits } from '../src/limits.ts'
import { hasDigest, zeroPairs } from '../src/sha256.ts'
import { createLanes, lanes, maxLaneBytes } from '../src/sha256-lanes.ts'
import { slabOver } from '../src/slab.ts'
import type { Side } from './sides.ts'

export const hashAlone: Side = async (path) => {
  const bytes = new Uint8Array(await readFile(path))
  const places: number[] = []
  new CarReader(defaultLimits).parse(slabOver(bytes), 0, bytes.length, (_slab, _start, data, end) => {
    places.push(data, end)
    return true
  })
  const blocks = Float64Array.from(places)
  const keys = await keysOf(bytes)
  return () => {
    for (let i = 0; i < blocks.length; i += 2) {
      const data = blocks[i] ?? 0
      if (!hasDigest(bytes.subarray(data, blocks[i + 1] ?? 0), bytes, data - 32)) throw new Error('a wrong hash')
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
  const froms = new Uint32Array(lanes)
  let from = 0
  let used = 0
  for (let i = 0; i < ends.length; i++) {
    const to = ends[i] ?? 0
    if (hashes === undefined || to - from > maxLaneBytes) checkHeight(zeroPairs(bytes.subarray(from, to)), heights[i])
    else {
      froms[used] = i
      hashes.put(used++, bytes, from, to)
    }
    from = to
    if (hashes === undefined || used === 0 || (used < lanes && i < ends.length - 1)) continue
    hashes.run()
    for (let lane = 0; lane < used; lane++) {
      checkHeight(Math.clz32(hashes.word(lane, 0)) >> 1, heights[froms[lane] ?? 0])
    }
    used = 0
  }
}

function checkHeight(height: number, expected: number | undefined): void {
  if (height !== expected) throw new Error(`a key has height ${height}, not ${expected}`)
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
