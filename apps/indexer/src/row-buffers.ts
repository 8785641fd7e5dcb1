// Row buffers of repos that are done, for those that come: a new one takes memory outside the heap, which makes V8 collect.
import { RowBuffer, type RowShape } from './row-buffer.ts'

/** Of one table; each keeps 8 KiB at most. */
const maxSpare = 64

export class RowBuffers {
  readonly #spare = new Map<RowShape, RowBuffer[]>()

  take(table: RowShape): RowBuffer {
    return this.#spare.get(table)?.pop() ?? new RowBuffer(table)
  }

  /** Nobody may look at its rows any more. */
  give(table: RowShape, buffer: RowBuffer): void {
    const spare = this.#spare.get(table)
    buffer.reset()
    if (spare === undefined) this.#spare.set(table, [buffer])
    else if (spare.length < maxSpare) spare.push(buffer)
  }
}
