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
import { LateProcessing } from './late-processing.ts'
import { type Limits, limitError } from './limits.ts'
import type { NodeFrame } from './node-frame.ts'
import { NodePath } from './node-path.ts'
import { processedBlock } from './section.ts'
import type { DigestAt, Slab } from './slab.ts'
import type { Entry, Process } from './types.ts'

export interface WalkOptions {
  readonly limits: Limits
  readonly process: Process | undefined
}

/** A chunk ends when it holds so many bytes that the store does not: a thousand records of 1 MB would be a gigabyte. */
const maxOwnBytes = 4 * 1024 * 1024

/** `full`: as many entries as asked for, or as many bytes as a chunk may hold. `missing`: the block `wanted` is not in the store. */
export type WalkStatus = 'full' | 'end' | 'missing'

export class Walk {
  readonly #options: WalkOptions
  readonly #path: NodePath
  readonly #keys = new Keys()
  #blocks: BlockStore
  /** Where the digest of the block to be looked up next is: the node to enter, or the record that was missing. */
  #wantedIn: Slab
  #wantedAt: number
  #entering = true
  /** The wanted node's link in its parent, and what the store said of it, or 0. */
  #wantedLink = 0
  #wantedPlace = 0
  /** Height of the root's keys. Below an entry-less root it is unknown (-1) until the first key. */
  #rootHeight = -1
  #collection = ''
  /** Nodes and records of a store that does not keep them in place. */
  readonly #copies = new Arena()
  readonly #depths = new KeyDepths()
  #late: LateProcessing | undefined
  /** What the chunk holds beside the store's memory: records that were read from disk, or processed for it. */
  #ownBytes = 0
  readonly root: DigestAt

  /** Walks the tree whose root has this digest. */
  constructor(blocks: BlockStore, root: Uint8Array, options: WalkOptions) {
    this.#blocks = blocks
    this.#options = options
    this.#path = new NodePath(root, options.limits, this.#copies)
    this.root = { slab: this.#path.root, at: 0 }
    this.#wantedIn = this.root.slab
    this.#wantedAt = this.root.at
  }

  get wanted(): DigestAt {
    return { slab: this.#wantedIn, at: this.#wantedAt }
  }

  /** Goes on with the same tree in another store. */
  moveTo(blocks: BlockStore): void {
    this.#blocks = blocks
    this.#wantedPlace = 0
    this.#path.forgetLocated()
  }

  /** Adds entries to `out` until it has `max`. */
  fill(out: Entry[], max: number): WalkStatus {
    const status = this.#fill(out, max)
    this.#depths.finish()
    return status
  }

  /** Nobody asks for more. */
  close(): void {
    this.#path.close()
  }

  #fill(out: Entry[], max: number): WalkStatus {
    const path = this.#path
    const { holdsBlocks } = this.#blocks
    this.#ownBytes = 0
    while (out.length < max && this.#ownBytes < maxOwnBytes) {
      if (this.#entering) {
        if (!this.#enter()) return 'missing'
        continue
      }
      const frame = path.top
      if (frame === undefined) return 'end'
      if (frame.entry === frame.entries) {
        path.leave()
        continue
      }
      frame.readEntry()
      this.#readKey(frame)
      const link = 1 + 2 * frame.entry
      const record = frame.links[link] ?? 0
      if (!this.#find(frame.slab, record, frame.located[link] ?? 0)) {
        this.#wantedIn = frame.slab
        this.#wantedAt = record
        return 'missing'
      }
      out.push(this.#entry(frame.slab, record))
      if (!holdsBlocks) this.#ownBytes += this.#blocks.found.to - this.#blocks.found.from
      this.#depths.expect(this.#keys, frame, this.#rootHeight - path.depth + 1)
      this.#keys.accept()
      frame.advance(this.#keys)
      this.#descend(frame, link + 1)
    }
    return 'full'
  }

  #find(slab: Slab, at: number, located: number): boolean {
    if (located === 0) return this.#blocks.find(slab.view, at)
    this.#blocks.open?.(located)
    return true
  }

  /** Goes into the subtree that a link names, if there is one. */
  #descend(frame: NodeFrame, link: number): void {
    const at = frame.links[link] ?? -1
    if (at < 0) return
    this.#wantedIn = frame.slab
    this.#wantedAt = at
    this.#wantedLink = link
    this.#wantedPlace = frame.located[link] ?? 0
    this.#entering = true
  }

  /** Goes into the wanted node. */
  #enter(): boolean {
    const path = this.#path
    const slab = this.#wantedIn
    const at = this.#wantedAt
    const { maxDepth } = this.#options.limits
    if (path.depth === maxDepth) {
      throw limitError('maxDepth', { max: maxDepth, actual: maxDepth + 1, cid: cidText(slab.bytes, at) })
    }
    if (this.#rootHeight >= 0 && path.depth > this.#rootHeight) {
      throw new RepoStreamError('KeyDepthInvalid', 'a node hangs below depth 0', { cid: cidText(slab.bytes, at) })
    }
    if (!path.enterAhead(this.#wantedLink)) {
      if (!this.#find(slab, at, this.#wantedPlace)) return false
      path.enterFound(this.#blocks, this.#wantedLink)
    }
    this.#entering = false
    const { top } = path
    if (top === undefined) return true
    if (top.entries === 0 && top.left < 0 && path.depth > 1) {
      throw new RepoStreamError('NodeEmpty', 'a node below the root has neither keys nor a child', { cid: top.cid })
    }
    if (this.#rootHeight < 0 && top.entries > 0) {
      top.readEntry() // before what is below it: its height says how deep the tree may be
      this.#readKey(top)
    }
    this.#descend(top, 0)
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
      frame.key.bytes[frame.keyFrom + prefixBytes] === keys.bytes[keys.from + prefixBytes] &&
      keys.to > keys.from + prefixBytes
    ) {
      throw this.#keyError('KeyPrefixInvalid', 'a prefix is shorter than what the two keys share', frame)
    }
    if (!keys.isInOrder(frame)) throw this.#keyError('KeyOrderInvalid', 'a key is not above the key before it', frame)
    if (keys.shared <= keys.slash - keys.from) this.#collection = keys.bytes.toString('latin1', keys.from, keys.slash)
    if (this.#rootHeight < 0)
      this.#rootHeight = keyHeight(keys.bytes.subarray(keys.from, keys.to)) + this.#path.depth - 1
  }

  #keyError(code: RepoStreamErrorCode, message: string, frame: NodeFrame): RepoStreamError {
    const { slab, key, keyFrom, prefixBytes, suffixFrom, suffixTo } = frame
    const text =
      key.bytes.toString('latin1', keyFrom, keyFrom + prefixBytes) +
      Buffer.from(slab.bytes.subarray(suffixFrom, suffixTo)).toString('latin1')
    return new RepoStreamError(code, `${message}: ${JSON.stringify(text)}`, { cid: frame.cid, details: { key: text } })
  }

  /** The entry of the block just found, whose digest stands at `record` of `node`. */
  #entry(node: Slab, record: number): Entry {
    const entry = new WalkEntry(this.#collection, this.#keys, node, record)
    const { found } = this.#blocks
    const { process } = this.#options
    if (process !== undefined && found.state !== processedBlock) {
      this.#late ??= new LateProcessing(process) // few walks need it
      const { value, error } = this.#late.of(found)
      if (value !== undefined) {
        this.#ownBytes += value.bytes.length
        return entry.withData(value, 0, value.bytes.length)
      }
      entry.error = error
    }
    const { slab, from, to } = found
    if (this.#blocks.isStable) return entry.withData(slab, from, to)
    const copied = this.#copies.copy(slab.bytes, from, to)
    return entry.withData(this.#copies.slab, copied, copied + to - from)
  }
}
