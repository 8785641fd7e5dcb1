// The bytes that a record is decoded from, in the three forms that they are read in: bytes, words, and strings by Node's own
// slicing functions, which its types leave out (`toString` takes 40 ns a record more to reach them).
import { Buffer } from 'node:buffer'

export interface RecordMemory {
  octets: Uint8Array<ArrayBuffer>
  view: DataView
  scratch: SlicingBuffer
}

interface SlicingBuffer extends Buffer<ArrayBuffer> {
  latin1Slice(start: number, end: number): string
  utf8Slice(start: number, end: number): string
}

const pageBytes = 64 * 1024

/** At least so many bytes, zeroed. */
export function recordMemory(bytes: number): RecordMemory {
  const buffer = new ArrayBuffer(Math.ceil(bytes / pageBytes) * pageBytes)
  const scratch = Buffer.from(buffer)
  if (!canSlice(scratch)) throw new TypeError('this Node has no Buffer.latin1Slice and utf8Slice')
  return { octets: new Uint8Array(buffer), view: new DataView(buffer), scratch }
}

function canSlice(buffer: Buffer<ArrayBuffer>): buffer is SlicingBuffer {
  return 'latin1Slice' in buffer && 'utf8Slice' in buffer
}
