// Checks that keys stand at the depth that their hashes demand, many at a time, without a string or a view for a key.
// A mismatch surfaces when a batch is full or at `finish`, so entries may be given out only after it.
import { cidText } from './cid.ts'
import { RepoStreamError } from './errors.ts'
import type { Keys } from './keys.ts'
import type { NodeFrame } from './node-frame.ts'
import { zeroPairs } from './sha256.ts'
import { batchBytes, batchMessages, createLanes, type Lanes, maxLaneBytes } from './sha256-lanes.ts'
import { type DigestAt, noSlab, type Slab } from './slab.ts'

/** Keys that are hashed alone before the lanes are made, which takes 20 ms in a cold process: a small repo does without. */
const keysBeforeLanes = 2000
/** Heights from here on are not told apart by the lanes. No key of the network has one: it takes 2^32 tries. */
const maxLaneHeight = 15

/** One for all walks: a walk uses it between two turns of the event loop only. */
let shared: Lanes | undefined
let keysAlone = 0

function sharedLanes(): Lanes | undefined {
  if (keysAlone === keysBeforeLanes) shared = createLanes()
  keysAlone++
  return shared
}

export class KeyDepths {
  /** Undefined in a thread's first keys, and where there are none. */
  #lanes = shared
  #used = 0
  /** The batch's keys lie here, from `#from` to `#to`. */
  #bytes: Buffer = noKey
  #from = 0
  #to = 0
  /** Of each key in the batch, where the digest of its node lies: for errors. */
  readonly #nodes: Slab[] = []
  readonly #nodeDigests: number[] = []

  /** The key that `keys` has written, found in `node`, must have this height. */
  expect(keys: Keys, node: NodeFrame, height: number): void {
    const { bytes, from, to } = keys
    this.#lanes ??= sharedLanes()
    if (this.#lanes === undefined || to - from > maxLaneBytes || height > maxLaneHeight) {
      checkAlone({ bytes, from, to }, height, { slab: node.slab, at: node.digestAt })
      return
    }
    if (this.#used === batchMessages || bytes !== this.#bytes || to - this.#from > batchBytes) {
      this.finish()
      this.#bytes = bytes
      this.#from = from
    }
    this.#nodes[this.#used] = node.slab
    this.#nodeDigests[this.#used] = node.digestAt
    this.#lanes.put(this.#used++, from - this.#from, to - this.#from, height)
    this.#to = to
  }

  /** Checks what is still waiting. */
  finish(): void {
    const count = this.#used
    const bytes = this.#bytes
    this.#used = 0
    this.#bytes = noKey
    if (count === 0 || this.#lanes === undefined) return
    const wrong = this.#lanes.check(bytes, this.#from, this.#to, count)
    if (wrong < 0) {
      this.#nodes.fill(noSlab, 0, count) // a shorter batch would leave some, each with memory that may be large
      return
    }
    const { from, to, zeroPairs: height } = this.#lanes.message(wrong)
    const key = { bytes, from: this.#from + from, to: this.#from + to }
    throw depthError(key, height, { slab: this.#nodes[wrong] ?? noSlab, at: this.#nodeDigests[wrong] ?? 0 })
  }
}

const noKey = Buffer.alloc(0)

interface KeyAt {
  readonly bytes: Buffer
  readonly from: number
  readonly to: number
}

function checkAlone(key: KeyAt, depth: number, node: DigestAt): void {
  if (zeroPairs(key.bytes.subarray(key.from, key.to)) !== depth) throw depthError(key, depth, node)
}

function depthError({ bytes, from, to }: KeyAt, depth: number, node: DigestAt): RepoStreamError {
  const key = bytes.toString('latin1', from, to)
  const height = zeroPairs(bytes.subarray(from, to))
  const details = { key, height, depth }
  const message = `a key of height ${height} stands at depth ${depth}: ${JSON.stringify(key)}`
  return new RepoStreamError('KeyDepthInvalid', message, { cid: cidText(node.slab.bytes, node.at), details })
}
