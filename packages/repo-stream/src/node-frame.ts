// Reads MST nodes in place: strict DAG-CBOR of `{e: [{k, p, t, v}...], l}`, nothing built. The frame of one level of the
// walk holds a node, how far it is read, and the key of its last entry.
import { cidText, isLink, linkBytes } from './cid.ts'
import { RepoStreamError } from './errors.ts'
import type { Keys } from './keys.ts'
import { limitError } from './limits.ts'
import type { Slab } from './slab.ts'

export class NodeFrame {
  slab: Slab
  readonly #digestAt: number
  /** The next entry. */
  at = 0
  /** Where the entries end. */
  end = 0
  /** Entries not read yet. */
  remaining = 0
  /** Digest of the left subtree, or -1. */
  left = -1
  /** The last key read from this node: in `key` from `keyFrom` to `keyTo`, its slash `slash` bytes after that. */
  key: Buffer = noKey
  keyFrom = 0
  keyTo = 0
  slash = -1
  /** Fields of the entry that `readEntry` read. */
  prefixBytes = 0
  suffixFrom = 0
  suffixTo = 0
  /** Digest of the subtree after the key, or -1. */
  tree = -1
  /** Digest of the record. */
  value = 0
  /** Where the entry after it starts. */
  next = 0

  /** Opens the node in `slab` from `from` to `to`, its digest right before it. */
  constructor(slab: Slab, from: number, to: number, maxEntries: number) {
    this.slab = slab
    this.#digestAt = from - 32
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
    if (count > maxEntries) {
      throw limitError('maxNodeEntries', { max: maxEntries, actual: count, cid: this.cid })
    }
    this.at = at
    this.remaining = count
    const link = to - linkBytes
    if (link - 2 >= at && bytes[link - 2] === 0x61 && bytes[link - 1] === 0x6c && isLink(view, link, to)) {
      this.end = link - 2
      this.left = link + 9
    } else if (to - 3 >= at && bytes[to - 3] === 0x61 && bytes[to - 2] === 0x6c && bytes[to - 1] === 0xf6) {
      this.end = to - 3
    } else throw this.invalid('it does not end with `l`, null or a link')
    if (count === 0 && at !== this.end) throw this.invalid('there are bytes between `e` and `l`')
  }

  get cid(): string {
    return cidText(this.slab.bytes, this.#digestAt)
  }

  /** Reads the entry at `at` into the fields, without going on: see `advance`. */
  readEntry(maxKeyBytes: number): void {
    const { bytes, view } = this.slab
    const { end } = this
    let at = this.at
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
    this.suffixFrom = at
    at += length
    this.suffixTo = at
    if (at + 3 > end || bytes[at] !== 0x61 || bytes[at + 1] !== 0x70) throw this.invalid('`p` is missing')
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
    this.prefixBytes = prefix
    if (prefix + length > maxKeyBytes)
      throw limitError('maxKeyBytes', { max: maxKeyBytes, actual: prefix + length, cid: this.cid })
    if (at + 3 > end || bytes[at] !== 0x61 || bytes[at + 1] !== 0x74) throw this.invalid('`t` is missing')
    at += 2
    if (bytes[at] === 0xf6) {
      this.tree = -1
      at++
    } else {
      if (!isLink(view, at, end)) throw this.invalid('`t` is neither null nor a link')
      this.tree = at + 9
      at += linkBytes
    }
    if (at + 2 > end || bytes[at] !== 0x61 || bytes[at + 1] !== 0x76) throw this.invalid('`v` is missing')
    at += 2
    if (!isLink(view, at, end)) throw this.invalid('`v` is not a link')
    this.value = at + 9
    at += linkBytes
    if (this.remaining === 1 && at !== end) throw this.invalid('there are bytes between `e` and `l`')
    this.next = at
  }

  /** The entry that was read is done; `keys` holds its key. */
  advance(keys: Keys): void {
    this.key = keys.bytes
    this.keyFrom = keys.from
    this.keyTo = keys.to
    this.slash = keys.slash - keys.from
    this.at = this.next
    this.remaining--
  }

  invalid(what: string): RepoStreamError {
    return new RepoStreamError('NodeInvalid', `not a node of the tree: ${what}`, { cid: this.cid })
  }
}

const noKey = Buffer.alloc(0)
