// Checks that keys stand at the depth that their hashes demand, four keys at a time, without a string or a view for a key.
// A mismatch surfaces when the lanes are full or at `finish`, so entries may be given out only after it.
import { RepoStreamError } from './errors.ts'
import type { Keys } from './keys.ts'
import type { NodeFrame } from './node-frame.ts'
import { zeroPairs } from './sha256.ts'
import { createLanes, type Lanes, lanes, maxLaneBytes } from './sha256-lanes.ts'

/** Keys that are hashed alone before the lanes are made, which takes 20 ms in a cold process: a small repo does without. */
const keysBeforeLanes = 2000

/** One for all walks: a walk uses it between two turns of the event loop only. */
let shared: Lanes | undefined
let keysAlone = 0

function sharedLanes(): Lanes | undefined {
  if (keysAlone === keysBeforeLanes) shared = createLanes()
  keysAlone++
  return shared
}

const noKey = Buffer.alloc(0)

interface Expected {
  key: Buffer
  from: number
  to: number
  height: number
  node: NodeFrame | undefined
}

export class KeyDepths {
  /** Undefined in a thread's first keys, and where there are none. */
  #lanes = shared
  readonly #expected: readonly Expected[] = Array.from({ length: lanes }, nothingExpected)
  #used = 0

  /** The key that `keys` has written, found in `node`, must have this height. */
  expect(keys: Keys, node: NodeFrame, height: number): void {
    const slot = this.#expected[this.#used]
    if (slot === undefined) return
    slot.key = keys.bytes
    slot.from = keys.from
    slot.to = keys.to
    slot.height = height
    slot.node = node
    this.#lanes ??= sharedLanes()
    if (this.#lanes === undefined || keys.to - keys.from > maxLaneBytes) checkAlone(slot)
    else if (++this.#used === lanes) this.finish()
  }

  /** Checks what is still waiting. */
  finish(): void {
    const used = this.#used
    const hashes = this.#lanes
    if (used === 0 || hashes === undefined) return
    this.#used = 0
    for (let lane = 0; lane < used; lane++) {
      const slot = this.#expected[lane]
      if (slot !== undefined) hashes.put(lane, slot.key, slot.from, slot.to)
    }
    hashes.run()
    for (let lane = 0; lane < used; lane++) {
      const slot = this.#expected[lane]
      const word = hashes.word(lane, 0)
      if (slot !== undefined && (word === 0 || Math.clz32(word) >> 1 !== slot.height)) checkAlone(slot)
    }
  }
}

function nothingExpected(): Expected {
  return { key: noKey, from: 0, to: 0, height: 0, node: undefined }
}

function checkAlone({ key: bytes, from, to, height: depth, node }: Expected): void {
  const height = zeroPairs(bytes.subarray(from, to))
  if (height === depth) return
  const key = bytes.toString('latin1', from, to)
  const details = { key, height, depth }
  const message = `a key of height ${height} stands at depth ${depth}: ${JSON.stringify(key)}`
  throw new RepoStreamError('KeyDepthInvalid', message, { cid: node?.cid, details })
}
