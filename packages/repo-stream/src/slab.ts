// A stretch of memory that blocks lie in: bytes, a view for reading words, and its place in its store's address space.

export interface Slab {
  readonly bytes: Uint8Array
  readonly view: DataView
  /** What `bytes` lies in, kept because asking `bytes` for it is a call out of compiled code. */
  readonly buffer: ArrayBufferLike
  readonly bufferFrom: number
  /** Address of the first byte. */
  readonly base: number
}

/** A digest of 32 bytes, where it lies. */
export interface DigestAt {
  readonly slab: Slab
  readonly at: number
}

export function slabOver(bytes: Uint8Array, base = 0): Slab {
  const { buffer, byteOffset: bufferFrom } = bytes
  return { bytes, view: new DataView(buffer, bufferFrom, bytes.byteLength), buffer, bufferFrom, base }
}

/** A view of part of it: a third cheaper than `subarray` (26 against 35 ns), and never a Buffer. */
export function viewOf({ buffer, bufferFrom }: Slab, from: number, to: number): Uint8Array {
  return new Uint8Array(buffer, bufferFrom + from, to - from)
}

/** Slabs of these sizes are kept for whoever needs one next, so many bytes of them in all. */
const smallestSpare = 16 * 1024
const largestSpare = 1024 * 1024
const maxSpareBytes = 4 * 1024 * 1024
/** By size. New memory must be cleared, is told to the collector, and comes page by page from the system. */
const spares = new Map<number, Slab[]>()
let spareBytes = 0

/** A new slab, whose bytes mean nothing. */
export function newSlab(bytes: number, base = 0): Slab {
  const spare = spares.get(bytes)?.pop()
  if (spare === undefined) return slabOver(new Uint8Array(bytes), base)
  spareBytes -= bytes
  return spare.base === base ? spare : { ...spare, base }
}

/** Frees a slab of `newSlab`, once. */
export function freeSlab(slab: Slab): void {
  const { length } = slab.bytes
  if (!isSpareSize(length) || spareBytes + length > maxSpareBytes) {
    freeNow(slab.bytes)
    return
  }
  spareBytes += length
  const alike = spares.get(length)
  if (alike === undefined) spares.set(length, [slab])
  else alike.push(slab)
}

/** A power of two. */
function isSpareSize(bytes: number): boolean {
  return bytes >= smallestSpare && bytes <= largestSpare && (bytes & (bytes - 1)) === 0
}

export const noSlab = slabOver(new Uint8Array(0))

/** Frees the memory now, for one that nobody looks at any more. Left to the collector, up to 64 MiB pile up first. */
export function freeNow(bytes: Uint8Array | Uint32Array): void {
  if (bytes.length > 0 && bytes.buffer instanceof ArrayBuffer) bytes.buffer.transfer(0)
}
