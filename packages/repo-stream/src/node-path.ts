// The nodes that a walk is in, one at each level, and the siblings that it comes to next: those are read some at a time, and
// what they link is located together, so that the cache misses of many nodes overlap. Whatever is wrong with a node that was
// read ahead is thrown when the walk enters it. Memory is bounded by `maxPathBytes`, and by what is read ahead: small nodes only.
import type { Arena } from './arena.ts'
import type { BlockStore } from './blocks.ts'
import { cidText, digestBytes } from './cid.ts'
import { RepoStreamError } from './errors.ts'
import { type Limits, limitError } from './limits.ts'
import { maxSmallNodeBytes, NodeFrame } from './node-frame.ts'
import { rawBlock } from './section.ts'
import { type Slab, slabOver } from './slab.ts'

/** Siblings that are read together. A node has four children on average. */
const siblings = 16

/** The tree of a repo of a million records has ten levels. */
const maxSpareLevels = 10

interface Level {
  /** Grows with what is needed, up to `siblings`. */
  readonly frames: NodeFrame[]
  /** Frames that were read, and how many of them the walk has entered. */
  read: number
  entered: number
}

/** Of the walk that was closed last in this thread: making frames costs a tiny repo as much as reading them. */
let spare: { readonly levels: Level[]; readonly root: Slab } | undefined

export class NodePath {
  depth = 0
  /** The node that the walk is in. */
  top: NodeFrame | undefined
  /** Holds the digest of the root. */
  readonly root: Slab
  readonly #limits: Limits
  /** Of the nodes that the walk is in. */
  #bytes = 0
  readonly #levels: Level[]
  /** Nodes of a store that does not keep them in place. */
  readonly #copies: Arena

  constructor(root: Uint8Array, limits: Limits, copies: Arena) {
    this.#limits = limits
    this.#copies = copies
    this.#levels = spare?.levels ?? []
    this.root = spare?.root ?? slabOver(new Uint8Array(digestBytes))
    spare = undefined
    this.root.bytes.set(root)
  }

  /** Leaves the frames to the next walk; they hold on to nothing. */
  close(): void {
    const levels = this.#levels.slice(0, maxSpareLevels)
    spare = { levels, root: this.root }
    for (const level of levels) {
      level.read = level.entered = 0
      for (const frame of level.frames) frame.clear()
    }
  }

  /** Goes into the child of `link` of the top node, if it was read ahead. */
  enterAhead(link: number): boolean {
    const level = this.#level()
    const frame = level.entered < level.read ? level.frames[level.entered] : undefined
    if (frame?.parentLink !== link) return false
    this.#checkBytes(frame.nodeBytes, frame.slab, frame.digestAt)
    this.#enter(level)
    return true
  }

  /** Reads the node that `blocks` has just found, for `link` of the top node, and siblings after it; goes into it. */
  enterFound(blocks: BlockStore, link: number): void {
    const { slab, from, to } = blocks.found
    this.#checkBytes(to - from, slab, from - digestBytes)
    const level = this.#level()
    level.read = 0
    level.entered = 0
    this.#read(blocks, level, link)
    const { top } = this
    if (blocks.locate !== undefined && blocks.open !== undefined) {
      for (let i = link + 2; top !== undefined && i < top.linkCount && level.read < siblings; i += 2) {
        const located = top.located[i] ?? 0
        if (located === 0) continue
        blocks.open(located)
        if (blocks.found.to - blocks.found.from > maxSmallNodeBytes) break
        this.#read(blocks, level, i)
      }
      blocks.locate(level.frames, level.read)
    }
    this.#enter(level)
  }

  leave(): void {
    this.#bytes -= this.top?.nodeBytes ?? 0
    this.top?.leave()
    this.depth--
    this.top = this.#current(this.depth)
  }

  /** What was located is elsewhere now. */
  forgetLocated(): void {
    for (const { frames } of this.#levels) for (const { located } of frames) located.fill(0)
  }

  /** Has the path room for a node? It is asked before the node is copied. */
  #checkBytes(nodeBytes: number, slab: Slab, digestAt: number): void {
    const max = this.#limits.maxPathBytes
    const actual = this.#bytes + nodeBytes
    if (actual > max) throw limitError('maxPathBytes', { max, actual, cid: cidText(slab.bytes, digestAt) })
  }

  /** The level below the top node. */
  #level(): Level {
    const known = this.#levels[this.depth]
    if (known !== undefined) return known
    const level = { frames: [], read: 0, entered: 0 }
    this.#levels.push(level)
    return level
  }

  #current(depth: number): NodeFrame | undefined {
    const level = depth > 0 ? this.#levels[depth - 1] : undefined
    return level?.frames[level.entered - 1]
  }

  #enter(level: Level): void {
    level.entered++
    this.depth++
    this.top = level.frames[level.entered - 1]
    this.#bytes += this.top?.nodeBytes ?? 0
    if (this.top?.failure !== undefined) throw this.top.failure
    const below = this.#levels[this.depth]
    if (below !== undefined) below.read = below.entered = 0 // they were another's
  }

  #read(blocks: BlockStore, level: Level, link: number): void {
    const { isStable, found } = blocks
    const { from, to, state } = found
    const start = isStable ? from : this.#copies.copy(found.slab.bytes, from - 32, to) + 32
    const slab = isStable ? found.slab : this.#copies.slab
    const frame = level.frames[level.read] ?? addFrame(level)
    frame.parentLink = link
    frame.failure = this.#failure(frame, { slab, from: start, to: start + to - from, state })
    level.read++
  }

  #failure(
    frame: NodeFrame,
    node: { slab: Slab; from: number; to: number; state: number },
  ): RepoStreamError | undefined {
    try {
      frame.open(node.slab, node.from, node.to, this.#limits)
      return node.state === rawBlock ? undefined : frame.invalid('it is a record')
    } catch (error) {
      if (error instanceof RepoStreamError) return error
      throw error
    }
  }
}

function addFrame(level: Level): NodeFrame {
  const frame = new NodeFrame()
  level.frames.push(frame)
  return frame
}
