// Reads MST nodes in place: strict DAG-CBOR of `{e: [{k, p, t, v}...], l}`, nothing built but lists of offsets. The frame of
// one level of the walk holds a node, how far the walk is in it, and the key of its last entry; it serves node after node.
import { cidText, isLink, linkBytes } from './cid.ts'
import { RepoStreamError } from './errors.ts'
import { type Keys, noKeys } from './keys.ts'
import { type Limits, limitError } from './limits.ts'
import { noSlab, type Slab } from './slab.ts'

/** Entries that a frame has room for at first; a node has three on average. */
const firstEntries = 5
/** Of a larger node a frame's room is not kept. */
const maxSpareEntries = 64
/** Chance alone gives 40 entries once in 10^5 nodes. A larger one is not read ahead, and let go when the walk has left it. */
export const maxSmallNodeBytes = 4096

export class NodeFrame {
  slab: Slab = noSlab
  digestAt = 0
  nodeBytes = 0
  entries = 0
  /** Its link among those of its parent, and what is wrong with it: see `NodePath`. */
  parentLink = 0
  failure: RepoStreamError | undefined
  /** The entry that the walk is at. */
  entry = 0
  /** Digests in the order of the walk: the left subtree's, then of each entry the record's and its subtree's. -1: none. */
  links = new Int32Array(1 + 2 * firstEntries)
  /** The block of each link, as its store's `locate` gave it; 0 where it is not known. */
  located = new Uint32Array(1 + 2 * firstEntries)
  /** Of each entry: where its key's suffix starts and ends, and the length of its prefix. */
  #suffixes = new Int32Array(3 * firstEntries)
  /** The last key read from this node: in `key` from `keyFrom` to `keyTo`, its slash `slash` bytes after that. */
  key = noKeys
  keyFrom = 0
  keyTo = 0
  slash = -1
  /** Fields of the entry that `readEntry` read. */
  prefixBytes = 0
  suffixFrom = 0
  suffixTo = 0

  get linkCount(): number {
    return 1 + 2 * this.entries
  }

  get left(): number {
    return this.links[0] ?? -1
  }

  get cid(): string {
    return cidText(this.slab.bytes, this.digestAt)
  }

  /** Reads the node in `slab` from `from` to `to`, its digest right before it, and stands before its first entry. */
  open(slab: Slab, from: number, to: number, limits: Pick<Limits, 'maxNodeEntries' | 'maxKeyBytes'>): void {
    if (this.slab !== slab) this.slab = slab
    this.digestAt = from - 32
    this.nodeBytes = to - from
    this.entries = 0
    this.entry = 0
    this.links[0] = -1
    this.located[0] = 0
    this.keyFrom = 0
    this.keyTo = 0
    this.slash = -1
    const { bytes, view } = slab
    if (to - from < 7 || bytes[from] !== 0xa2 || bytes[from + 1] !== 0x61 || bytes[from + 2] !== 0x65)
      throw this.invalid('it is not the map {e, l}')
    let at = from + 4
    const head = bytes[from + 3] ?? 0
    let count = head - 0x80
    if (count === 24) {
      count = bytes[at++] ?? 0
      if (count < 24) throw this.invalid('the length of `e` is not minimal')
    } else if (count === 25) {
      count = view.getUint16(at)
      at += 2
      if (count < 256) throw this.invalid('the length of `e` is not minimal')
    } else if (count === 26 && to - at >= 4) {
      count = view.getUint32(at)
      at += 4
      if (count < 65536) throw this.invalid('the length of `e` is not minimal')
    } else if (count < 0 || count > 23) throw this.invalid('`e` is not a list')
    const { maxNodeEntries, maxKeyBytes } = limits
    if (count > maxNodeEntries) {
      throw limitError('maxNodeEntries', { max: maxNodeEntries, actual: count, cid: this.cid })
    }
    if (count > (to - at) / minEntryBytes) throw this.invalid('`e` is longer than the node')
    const link = to - linkBytes
    let end = to - 3
    if (link - 2 >= at && bytes[link - 2] === 0x61 && bytes[link - 1] === 0x6c && isLink(view, link, to)) {
      end = link - 2
      this.links[0] = link + 9
    } else if (end < at || bytes[end] !== 0x61 || bytes[end + 1] !== 0x6c || bytes[end + 2] !== 0xf6)
      throw this.invalid('it does not end with `l`, null or a link')
    if (count > this.#suffixes.length / 3) this.#grow(count)
    for (let i = 0; i < count; i++) at = this.#readPlaces(i, at, end, maxKeyBytes)
    if (at !== end) throw this.invalid('there are bytes between `e` and `l`')
    this.entries = count
  }

  /** The walk is done with the node: holds on to none of the keys' memory, nor to that of a large node. */
  leave(): void {
    this.key = noKeys
    if (this.nodeBytes > maxSmallNodeBytes) this.clear()
  }

  /** Holds on to no memory but its own, and that only as far as it is small. */
  clear(): void {
    this.slab = noSlab
    this.key = noKeys
    this.failure = undefined
    this.entries = 0
    if (this.links.length > 1 + 2 * maxSpareEntries) this.#grow(firstEntries)
  }

  /** The entry that the walk is at, into the fields. */
  readEntry(): void {
    const at = 3 * this.entry
    this.suffixFrom = this.#suffixes[at] ?? 0
    this.suffixTo = this.#suffixes[at + 1] ?? 0
    this.prefixBytes = this.#suffixes[at + 2] ?? 0
  }

  /** The entry that was read is done; `keys` holds its key. */
  advance(keys: Keys): void {
    if (this.key !== keys.buffer) this.key = keys.buffer // a frame is older than most buffers, so the store costs
    this.keyFrom = keys.from
    this.keyTo = keys.to
    this.slash = keys.slash - keys.from
    this.entry++
  }

  invalid(what: string): RepoStreamError {
    return new RepoStreamError('NodeInvalid', `not a node of the tree: ${what}`, { cid: this.cid })
  }

  /** Reads entry `i`, which starts at `from`, and gives where it ends. */
  #readPlaces(i: number, from: number, end: number, maxKeyBytes: number): number {
    const { bytes, view } = this.slab
    let at = from
    // a4 61 'k' then a byte string
    if (at + 4 > end || view.getUint32(at) >>> 8 !== 0xa4616b)
      throw this.invalid('an entry is not the map {k, p, t, v}')
    at += 3
    let length = (bytes[at++] ?? 0) - 0x40
    if (length === 24) {
      length = bytes[at++] ?? 0
      if (length < 24) throw this.invalid('the length of `k` is not minimal')
    } else if (length === 25 && at + 2 <= end) {
      length = view.getUint16(at)
      at += 2
      if (length < 256) throw this.invalid('the length of `k` is not minimal')
    } else if (length < 0 || length > 23) throw this.invalid('`k` is not a byte string of a key')
    const suffixFrom = at
    at += length
    if (at + 3 > end || view.getUint16(at) !== 0x6170) throw this.invalid('`p` is missing')
    at += 2
    let prefix = bytes[at++] ?? 0
    if (prefix === 24) {
      prefix = bytes[at++] ?? 0
      if (prefix < 24) throw this.invalid('`p` is not minimal')
    } else if (prefix === 25 && at + 2 <= end) {
      prefix = view.getUint16(at)
      at += 2
      if (prefix < 256) throw this.invalid('`p` is not minimal')
    } else if (prefix > 23) throw this.invalid('`p` is not a length')
    if (prefix + length > maxKeyBytes)
      throw limitError('maxKeyBytes', { max: maxKeyBytes, actual: prefix + length, cid: this.cid })
    this.#suffixes[3 * i] = suffixFrom
    this.#suffixes[3 * i + 1] = suffixFrom + length
    this.#suffixes[3 * i + 2] = prefix
    if (at + 3 > end || view.getUint16(at) !== 0x6174) throw this.invalid('`t` is missing')
    at += 2
    if (bytes[at] === 0xf6) {
      this.links[2 + 2 * i] = -1
      at++
    } else {
      if (!isLink(view, at, end)) throw this.invalid('`t` is neither null nor a link')
      this.links[2 + 2 * i] = at + 9
      at += linkBytes
    }
    if (at + 2 > end || view.getUint16(at) !== 0x6176) throw this.invalid('`v` is missing')
    at += 2
    if (!isLink(view, at, end)) throw this.invalid('`v` is not a link')
    this.links[1 + 2 * i] = at + 9
    this.located[1 + 2 * i] = 0
    this.located[2 + 2 * i] = 0
    return at + linkBytes
  }

  #grow(entries: number): void {
    const left = this.left
    this.links = new Int32Array(1 + 2 * entries)
    this.links[0] = left
    this.located = new Uint32Array(1 + 2 * entries)
    this.#suffixes = new Int32Array(3 * entries)
  }
}

/** An entry's head, its four keys, two short numbers, a null and a link. */
const minEntryBytes = 1 + 4 * 2 + 2 + 1 + linkBytes
