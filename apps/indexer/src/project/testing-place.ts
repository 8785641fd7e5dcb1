// For tests and benches: a block by itself, as repo-stream tells where one lies.
import type { Place } from 'repo-stream'

export function placeOf(block: Uint8Array): Place {
  const view = new DataView(block.buffer, block.byteOffset, block.length)
  return { memory: { bytes: block, view }, from: 0, to: block.length }
}
