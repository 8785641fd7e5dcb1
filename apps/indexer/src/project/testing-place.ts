// For tests and benches: a block by itself, as repo-stream tells where one lies.
import type { Place } from 'repo-stream'

export function placeOf(block: Uint8Array): Place {
  const view = new DataView(block.buffer, block.byteOffset, block.length)
  return { memory: { bytes: block, view }, from: 0, to: block.length }
}

/** The same in the midst of other bytes, as most blocks lie: of those behind it each would go on with a character, or be a value. */
export function placeAmong(block: Uint8Array): Place {
  const from = 1 + (placed++ % 8)
  const bytes = new Uint8Array(from + block.length + 16).fill(0x80)
  bytes.set(block, from)
  return { memory: { bytes, view: new DataView(bytes.buffer) }, from, to: from + block.length }
}

let placed = 0
