// Row buffers of repos that are done, and their chunks, for those that come: new ones take memory outside the heap, which makes V8 collect.
import { Spares } from 'repo-stream'
import { type Chunk, RowBuffer, type RowShape } from './row-buffer.ts'

/** Of one table; each keeps 8 KiB at most. */
const maxSpare = 64
/** In chunks that are larger. */
const maxChunkBytes = 16 * 1024 * 1024

export class RowBuffers {
  readonly chunks = new Spares<Chunk>(maxChunkBytes)
  readonly #spare = new Map<RowShape, RowBuffer[]>()

  take(table: RowShape): RowBuffer {
    return this.#spare.get(table)?.pop() ?? new RowBuffer(table, this.chunks)
  }

  /** Nobody may look at its rows any more. */
  give(table: RowShape, buffer: RowBuffer): void {
    const spare = this.#spare.get(table)
    buffer.reset()
    if (spare === undefined) this.#spare.set(table, [buffer])
    else if (spare.length < maxSpare) spare.push(buffer)
  }
}
