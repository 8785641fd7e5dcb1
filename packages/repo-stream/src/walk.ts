// Walks an MST in key order: block store in, entries out. A loop, not recursion: depth is the sender's choice. It checks
// key order, key depth and prefixes. A block that is missing stops it where it stands; it goes on when asked again.
import { Arena } from './arena.ts'
import type { BlockStore } from './blocks.ts'
import { cidText } from './cid.ts'
import { WalkEntry } from './entry.ts'
import { RepoStreamError, type RepoStreamErrorCode } from './errors.ts'
import { KeyDepths } from './key-depths.ts'
import { keyHeight } from './key-height.ts'
import { Keys } from './keys.ts'
import { type Limits, limitError } from './limits.ts'
import { NodeFrame } from './node-frame.ts'
import { failedBlock, rawBlock } from './section.ts'
import type { DigestAt, Slab } from './slab.ts'
import type { Entry, Process } from './types.ts'

export interface WalkOptions {
  readonly limits: Limits
  readonly process: Process | undefined
}

/** `full`: as many entries as asked for, or as many bytes as a chunk may hold. `missing`: the block `wanted` is not in the store. */
export type WalkStatus = 'full' | 'end' | 'missing'

export class Walk {
  readonly #options: WalkOptions
  readonly #frames: NodeFrame[] = []
  readonly #keys = new Keys()
  #blocks: BlockStore
  /** The block to be looked up next: the node to enter, or the record that was missing. */
  wanted: DigestAt
  #entering = true
  /** Height of the root's keys. Below an entry-less root it is unknown (-1) until the first key. */
  #rootHeight = -1
  #collection = ''
  /** Nodes and records of a store that does not keep them in place. */
  readonly #copies = new Arena()
  readonly #depths = new KeyDepths()

  constructor(blocks: BlockStore, root: DigestAt, options: WalkOptions) {
    this.#blocks = blocks
    this.wanted = root
    this.#options = options
  }

  /** Goes on with the same tree in another store. */
  moveTo(blocks: BlockStore): void {
    this.#blocks = blocks
  }

  /** Adds entries to `out` until it has `max`. */
  fill(out: Entry[], max: number): WalkStatus {
    const status = this.#fill(out, max)
    this.#depths.finish()
    return status
  }

  #fill(out: Entry[], max: number): WalkStatus {
    const frames = this.#frames
    const { maxChunkBytes } = this.#blocks
    for (let bytes = 0; out.length < max && bytes < maxChunkBytes; ) {
      if (this.#entering) {
        if (!this.#enter()) return 'missing'
        continue
      }
      const frame = frames[frames.length - 1]
      if (frame === undefined) return 'end'
      if (frame.remaining === 0) {
        frames.pop()
        continue
      }
      frame.readEntry(this.#options.limits.maxKeyBytes)
      this.#readKey(frame)
      if (!this.#blocks.find(frame.slab.view, frame.value)) {
        this.wanted = { slab: frame.slab, at: frame.value }
        return 'missing'
      }
      out.push(this.#entry(frame))
      bytes += this.#blocks.found.to - this.#blocks.found.from
      this.#depths.expect(this.#keys, frame, this.#rootHeight - frames.length + 1)
      this.#keys.accept()
      frame.advance(this.#keys)
      if (frame.tree >= 0) this.#descend(frame.slab, frame.tree)
    }
    return 'full'
  }

  #descend(slab: Slab, at: number): void {
    this.wanted = { slab, at }
    this.#entering = true
  }

  /** Opens the wanted node as a new top frame. */
  #enter(): boolean {
    const { slab, at } = this.wanted
    const depth = this.#frames.length
    const { maxDepth, maxNodeEntries } = this.#options.limits
    if (depth === maxDepth) {
      throw limitError('maxDepth', { max: maxDepth, actual: depth + 1, cid: cidText(slab.bytes, at) })
    }
    if (this.#rootHeight >= 0 && depth > this.#rootHeight) {
      throw new RepoStreamError('KeyDepthInvalid', 'a node hangs below depth 0', { cid: cidText(slab.bytes, at) })
    }
    if (!this.#blocks.find(slab.view, at)) return false
    const { isStable, found } = this.#blocks
    const { from, to, state } = found
    const start = isStable ? from : this.#copies.copy(found.slab.bytes, from - 32, to) + 32
    const frame = new NodeFrame(isStable ? found.slab : this.#copies.slab, start, start + to - from, maxNodeEntries)
    if (state !== rawBlock) throw frame.invalid('it is a record')
    if (frame.remaining === 0 && frame.left < 0 && depth > 0) {
      throw new RepoStreamError('NodeEmpty', 'a node below the root has neither keys nor a child', { cid: frame.cid })
    }
    this.#frames.push(frame)
    this.#entering = false
    if (frame.left >= 0) this.#descend(frame.slab, frame.left)
    return true
  }

  /** Builds and checks the key of the entry that `frame` has just read. */
  #readKey(frame: NodeFrame): void {
    const keys = this.#keys
    const { prefixBytes } = frame
    const before = frame.keyTo - frame.keyFrom
    if (prefixBytes > before)
      throw this.#keyError('KeyPrefixInvalid', 'a prefix is longer than the key before it', frame)
    if (!keys.write(frame))
      throw this.#keyError('KeyInvalid', 'a key is not collection/rkey in the characters of a repo path', frame)
    if (
      prefixBytes < before &&
      frame.key[frame.keyFrom + prefixBytes] === keys.bytes[keys.from + prefixBytes] &&
      keys.to > keys.from + prefixBytes
    ) {
      throw this.#keyError('KeyPrefixInvalid', 'a prefix is shorter than what the two keys share', frame)
    }
    if (!keys.isInOrder(frame)) throw this.#keyError('KeyOrderInvalid', 'a key is not above the key before it', frame)
    if (keys.shared <= keys.slash - keys.from) this.#collection = keys.bytes.toString('latin1', keys.from, keys.slash)
    if (this.#rootHeight < 0)
      this.#rootHeight = keyHeight(keys.bytes.subarray(keys.from, keys.to)) + this.#frames.length - 1
  }

  #keyError(code: RepoStreamErrorCode, message: string, frame: NodeFrame): RepoStreamError {
    const { slab, key, keyFrom, prefixBytes, suffixFrom, suffixTo } = frame
    const text =
      key.toString('latin1', keyFrom, keyFrom + prefixBytes) +
      Buffer.from(slab.bytes.subarray(suffixFrom, suffixTo)).toString('latin1')
    return new RepoStreamError(code, `${message}: ${JSON.stringify(text)}`, { cid: frame.cid, details: { key: text } })
  }

  #entry(frame: NodeFrame): Entry {
    const { slab, from, to, state } = this.#blocks.found
    const { process } = this.#options
    const { bytes: key, slash, to: keyTo } = this.#keys
    const place = {
      collection: this.#collection,
      key,
      rkeyFrom: slash + 1,
      keyTo,
      cid: frame.slab.bytes,
      cidFrom: frame.value - 4,
    }
    if (process !== undefined && (state === rawBlock || state === failedBlock)) {
      // it looks like a node, so it was kept as it came; or `process` threw, and its error is made again rather than kept
      try {
        const data = Uint8Array.from(process(slab.bytes.subarray(from, to), slab.bytes.subarray(from - 32, from)))
        return new WalkEntry({ ...place, data, dataFrom: 0, dataTo: data.length, error: undefined })
      } catch (error) {
        const data = slab.bytes.slice(from, to)
        return new WalkEntry({ ...place, data, dataFrom: 0, dataTo: data.length, error })
      }
    }
    if (this.#blocks.isStable)
      return new WalkEntry({ ...place, data: slab.bytes, dataFrom: from, dataTo: to, error: undefined })
    const copied = this.#copies.copy(slab.bytes, from, to)
    return new WalkEntry({
      ...place,
      data: this.#copies.slab.bytes,
      dataFrom: copied,
      dataTo: copied + to - from,
      error: undefined,
    })
  }
}
