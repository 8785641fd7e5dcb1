// The bytes of a record in hand, in the two forms that they are read in, and Node's own functions that make strings of bytes,
// which its types leave out: `toString` takes 40 ns a record more to reach them.
import { Buffer } from 'node:buffer'

export interface RecordMemory {
  octets: Uint8Array<ArrayBuffer>
  view: DataView
}

const pageBytes = 64 * 1024

/** At least so many bytes, zeroed. */
export function recordMemory(bytes: number): RecordMemory {
  const buffer = new ArrayBuffer(Math.ceil(bytes / pageBytes) * pageBytes)
  return { octets: new Uint8Array(buffer), view: new DataView(buffer) }
}

type Slice = (this: Uint8Array, start: number, end: number) => string

export const { latin1Slice, utf8Slice } = slicing(Buffer.prototype)

function slicing(prototype: object): { latin1Slice: Slice; utf8Slice: Slice } {
  if (canSlice(prototype)) return prototype
  throw new TypeError('this Node has no Buffer.latin1Slice and utf8Slice')
}

function canSlice(prototype: object): prototype is { latin1Slice: Slice; utf8Slice: Slice } {
  return 'latin1Slice' in prototype && 'utf8Slice' in prototype
}
