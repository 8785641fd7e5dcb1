// Row buffers of repos that are done, and their chunks, for those that come: new ones take memory outside the heap, which makes V8 collect.
import { type Chunk, RowBuffer, type RowShape, type SpareChunks } from './row-buffer.ts'

/** Of one table; each keeps 8 KiB at most. */
const maxSpare = 64
/** In chunks that are larger. */
const maxChunkBytes = 16 * 1024 * 1024

export class RowBuffers implements SpareChunks {
  readonly #spare = new Map<RowShape, RowBuffer[]>()
  readonly #chunks = new Map<number, Chunk[]>()
  #chunkBytes = 0

  take(table: RowShape): RowBuffer {
    return this.#spare.get(table)?.pop() ?? new RowBuffer(table, this)
  }

  /** Nobody may look at its rows any more. */
  give(table: RowShape, buffer: RowBuffer): void {
    const spare = this.#spare.get(table)
    buffer.reset()
    if (spare === undefined) this.#spare.set(table, [buffer])
    else if (spare.length < maxSpare) spare.push(buffer)
  }

  takeChunk(bytes: number): Chunk | undefined {
    const chunk = this.#chunks.get(bytes)?.pop()
    if (chunk !== undefined) this.#chunkBytes -= bytes
    return chunk
  }

  giveChunk(chunk: Chunk): void {
    const { length } = chunk.bytes
    if (this.#chunkBytes + length > maxChunkBytes) return
    this.#chunkBytes += length
    const alike = this.#chunks.get(length)
    if (alike === undefined) this.#chunks.set(length, [chunk])
    else alike.push(chunk)
  }
}
