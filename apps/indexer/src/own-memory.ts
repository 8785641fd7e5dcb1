// Does a piece of bytes lie in memory of its own? Then it may be transferred to another thread, or freed, and nothing else goes with it.

/** It is more than half of its memory, so it is no piece of Node's pool, which gives what is less than half as large. */
export function ownsMemory(piece: Uint8Array): piece is Uint8Array<ArrayBuffer> {
  return piece.length * 2 > piece.buffer.byteLength && piece.buffer instanceof ArrayBuffer
}
