// Checks that keys stand at the depth that their hashes demand, four keys at a time, without a string or a view for a key.
// A mismatch surfaces when the lanes are full or at `finish`, so entries may be given out only after it.
import { RepoStreamError } from './errors.ts'
import { zeroPairs } from './sha256.ts'
import { createLanes, type Lanes, lanes, maxLaneBytes } from './sha256-lanes.ts'

let shared: Lanes | undefined | 'unknown' = 'unknown'

export class KeyDepths {
  readonly #lanes: Lanes | undefined
  readonly #heights = new Uint8Array(lanes)
  readonly #keys: { bytes: Buffer; from: number; to: number }[] = Array.from({ length: lanes }, () => ({
    bytes: noKey,
    from: 0,
    to: 0,
  }))
  #used = 0

  constructor() {
    if (shared === 'unknown') shared = createLanes()
    this.#lanes = shared
  }

  /** The key `bytes[from, to)`, which stays as it is until `finish`, must have this height. */
  expect(bytes: Buffer, from: number, to: number, height: number): void {
    const slot = this.#keys[this.#used]
    if (this.#lanes === undefined || to - from > maxLaneBytes || slot === undefined) {
      const actual = zeroPairs(bytes.subarray(from, to))
      if (actual !== height) throw wrongDepth(bytes.toString('latin1', from, to), actual, height)
      return
    }
    this.#heights[this.#used] = height
    slot.bytes = bytes
    slot.from = from
    slot.to = to
    if (++this.#used === lanes) this.finish()
  }

  finish(): void {
    const used = this.#used
    const hashes = this.#lanes
    if (used === 0 || hashes === undefined) return
    this.#used = 0
    for (let lane = 0; lane < used; lane++) {
      const slot = this.#keys[lane]
      if (slot !== undefined) hashes.put(lane, slot.bytes, slot.from, slot.to)
    }
    hashes.run()
    for (let lane = 0; lane < used; lane++) {
      const expected = this.#heights[lane] ?? 0
      const word = hashes.word(lane, 0)
      if (word !== 0 && Math.clz32(word) >> 1 === expected) continue
      const slot = this.#keys[lane]
      if (slot === undefined) continue
      const actual = zeroPairs(slot.bytes.subarray(slot.from, slot.to))
      if (actual !== expected) throw wrongDepth(slot.bytes.toString('latin1', slot.from, slot.to), actual, expected)
    }
  }
}

const noKey = Buffer.alloc(0)

function wrongDepth(key: string, height: number, depth: number): RepoStreamError {
  return new RepoStreamError(
    'KeyDepthInvalid',
    `a key of height ${height} stands at depth ${depth}: ${JSON.stringify(key)}`,
    {
      details: { key, height, depth },
    },
  )
}
