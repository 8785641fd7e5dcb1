// A Buffer with Node's own slicing functions, which its types leave out: `toString` takes 40 ns a record more to reach them.
import { Buffer } from 'node:buffer'

export interface SlicingBuffer extends Buffer<ArrayBuffer> {
  latin1Slice(start: number, end: number): string
  utf8Slice(start: number, end: number): string
}

/** Zeroed, in memory of its own. */
export function slicingBuffer(bytes: number): SlicingBuffer {
  const buffer = Buffer.from(new ArrayBuffer(bytes))
  if (canSlice(buffer)) return buffer
  throw new TypeError('this Node has no Buffer.latin1Slice and utf8Slice')
}

function canSlice(buffer: Buffer<ArrayBuffer>): buffer is SlicingBuffer {
  return 'latin1Slice' in buffer && 'utf8Slice' in buffer
}
