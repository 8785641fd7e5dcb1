// The keys of a walk, written one behind the other into buffers that the entries share, and checked: characters, the one
// slash, order. A key is its node's previous key up to the prefix length, and a suffix.
import type { NodeFrame } from './node-frame.ts'

const firstBufferBytes = 1024
const maxBufferBytes = 64 * 1024
/** Keys are copied and compared by words of four bytes, the last of which may reach behind the key. */
const wordBytes = 4

/** 1 for the characters of a repo path, 2 for the slash between its two parts. */
const allowed = new Uint8Array(256)
for (const char of 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:~')
  allowed[char.charCodeAt(0)] = 1
allowed[0x2f] = 2

export class Keys {
  /** The key written last: `bytes[from, to)`, its slash at `slash`. */
  bytes = Buffer.allocUnsafe(firstBufferBytes) // from Node's pool: most walks need no other
  /** For reading its words. */
  view = viewOver(this.bytes)
  from = 0
  to = 0
  slash = 0
  /** What it shares with the key accepted before it. */
  shared = 0
  #accepted = this.bytes
  #acceptedView = this.view
  #acceptedFrom = 0
  #acceptedTo = 0

  /** Writes the key of the entry that `frame` has just read. False: a character, the slash, or a part is wrong. */
  write(frame: NodeFrame): boolean {
    const { prefixBytes, suffixFrom, suffixTo, slab, keyView, keyFrom } = frame
    this.#makeRoom(prefixBytes + suffixTo - suffixFrom + wordBytes)
    const { bytes, view } = this
    const from = this.#acceptedTo === 0 || this.#accepted !== bytes ? 0 : this.#acceptedTo
    for (let i = 0; i < prefixBytes; i += wordBytes) view.setInt32(from + i, keyView.getInt32(keyFrom + i))
    let to = from + prefixBytes
    let slash = frame.slash >= 0 && frame.slash < prefixBytes ? from + frame.slash : -1
    for (let i = suffixFrom; i < suffixTo; i++) {
      const byte = slab.bytes[i] ?? 0
      const kind = allowed[byte]
      if (kind !== 1) {
        if (kind !== 2 || slash >= 0) return false
        slash = to
      }
      bytes[to++] = byte
    }
    this.from = from
    this.to = to
    this.slash = slash
    return slash > from && slash < to - 1 && !isDots(bytes, from, slash) && !isDots(bytes, slash + 1, to)
  }

  /** Is the key written last greater than the one accepted before it? Sets `shared`. */
  isInOrder(frame: NodeFrame): boolean {
    const { bytes, view, from, to } = this
    const before = this.#accepted
    const beforeView = this.#acceptedView
    const beforeFrom = this.#acceptedFrom
    const length = Math.min(to - from, this.#acceptedTo - beforeFrom)
    // right after its neighbour in the same node, a key shares at least its prefix with the key before
    let i = frame.key === before && frame.keyFrom === beforeFrom ? Math.min(frame.prefixBytes, length) : 0
    while (i + wordBytes <= length && view.getInt32(from + i) === beforeView.getInt32(beforeFrom + i)) i += wordBytes
    while (i < length && bytes[from + i] === before[beforeFrom + i]) i++
    this.shared = i
    if (i < length) return (bytes[from + i] ?? 0) > (before[beforeFrom + i] ?? 0)
    return to - from > this.#acceptedTo - beforeFrom
  }

  accept(): void {
    this.#accepted = this.bytes
    this.#acceptedView = this.view
    this.#acceptedFrom = this.from
    this.#acceptedTo = this.to
  }

  /** A full buffer is left to the entries that point into it. */
  #makeRoom(keyBytes: number): void {
    const at = this.#accepted === this.bytes ? this.#acceptedTo : 0
    if (at + keyBytes <= this.bytes.length) return
    const bytes = Math.max(keyBytes, Math.min(this.bytes.length * 2, maxBufferBytes))
    this.bytes = Buffer.allocUnsafeSlow(bytes)
    this.view = viewOver(this.bytes)
  }
}

function viewOver({ buffer, byteOffset, byteLength }: Uint8Array): DataView {
  return new DataView(buffer, byteOffset, byteLength)
}

/** `.` and `..` are no part of a repo path (https://atproto.com/specs/repository). */
function isDots(bytes: Uint8Array, from: number, to: number): boolean {
  return to - from <= 2 && bytes[from] === 0x2e && bytes[to - 1] === 0x2e
}
