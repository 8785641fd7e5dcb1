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

/** Keys lie here; the view is for their words. */
export interface KeyBuffer {
  readonly bytes: Buffer
  readonly view: DataView
}

export class Keys {
  /** The key written last: `bytes[from, to)` of the buffer, its slash at `slash`. */
  buffer = keyBuffer(Buffer.allocUnsafe(firstBufferBytes)) // from Node's pool: most walks need no other
  from = 0
  to = 0
  slash = 0
  /** What it shares with the key accepted before it. */
  shared = 0
  #accepted = this.buffer
  #acceptedFrom = 0
  #acceptedTo = 0

  get bytes(): Buffer {
    return this.buffer.bytes
  }

  /** Writes the key of the entry that `frame` has just read. False: a character, the slash, or a part is wrong. */
  write(frame: NodeFrame): boolean {
    const { prefixBytes, suffixFrom, suffixTo, slab, key, keyFrom } = frame
    this.#makeRoom(prefixBytes + suffixTo - suffixFrom + wordBytes)
    const { bytes, view } = this.buffer
    const from = this.#accepted === this.buffer ? this.#acceptedTo : 0
    for (let i = 0; i < prefixBytes; i += wordBytes) view.setInt32(from + i, key.view.getInt32(keyFrom + i))
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
    const { buffer, from, to } = this
    const { bytes, view } = buffer
    const before = this.#accepted
    const beforeFrom = this.#acceptedFrom
    const length = Math.min(to - from, this.#acceptedTo - beforeFrom)
    // right after its neighbour in the same node, a key shares at least its prefix with the key before
    let i = frame.key === before && frame.keyFrom === beforeFrom ? Math.min(frame.prefixBytes, length) : 0
    while (i + wordBytes <= length && view.getInt32(from + i) === before.view.getInt32(beforeFrom + i)) i += wordBytes
    while (i < length && bytes[from + i] === before.bytes[beforeFrom + i]) i++
    this.shared = i
    if (i < length) return (bytes[from + i] ?? 0) > (before.bytes[beforeFrom + i] ?? 0)
    return to - from > this.#acceptedTo - beforeFrom
  }

  accept(): void {
    this.#accepted = this.buffer
    this.#acceptedFrom = this.from
    this.#acceptedTo = this.to
  }

  /** A full buffer is left to the entries that point into it. */
  #makeRoom(keyBytes: number): void {
    const { length } = this.buffer.bytes
    const at = this.#accepted === this.buffer ? this.#acceptedTo : 0
    if (at + keyBytes <= length) return
    this.buffer = keyBuffer(Buffer.allocUnsafeSlow(Math.max(keyBytes, Math.min(length * 2, maxBufferBytes))))
  }
}

function keyBuffer(bytes: Buffer): KeyBuffer {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) }
}

export const noKeys = keyBuffer(Buffer.alloc(0))

/** `.` and `..` are no part of a repo path (https://atproto.com/specs/repository). */
function isDots(bytes: Uint8Array, from: number, to: number): boolean {
  return to - from <= 2 && bytes[from] === 0x2e && bytes[to - 1] === 0x2e
}
