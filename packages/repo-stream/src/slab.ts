// A stretch of memory that blocks lie in: bytes, a view for reading words, and its place in its store's address space.

export interface Slab {
  readonly bytes: Uint8Array
  readonly view: DataView
  /** Address of the first byte. */
  readonly base: number
}

export function slabOver(bytes: Uint8Array, base = 0): Slab {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), base }
}

export const noSlab = slabOver(new Uint8Array(0))
