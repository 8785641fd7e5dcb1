// Chunks of a large repo on their way from the thread that walks it to the writer: pushed in, iterated out, each taken told.
// The sender keeps its length: it waits for `onTaken` before it sends more than a few.
import type { RowChunk } from './write.ts'

export class ChunkQueue implements AsyncIterable<RowChunk> {
  readonly #onTaken: () => void
  readonly #chunks: RowChunk[] = []
  #end: { error: unknown } | 'end' | undefined
  #ring: (() => void) | undefined

  constructor(onTaken: () => void) {
    this.#onTaken = onTaken
  }

  push(chunk: RowChunk): void {
    this.#chunks.push(chunk)
    this.#ring?.()
  }

  end(): void {
    this.#end ??= 'end'
    this.#ring?.()
  }

  /** Thrown at whoever iterates. */
  fail(error: unknown): void {
    this.#end = { error }
    this.#ring?.()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<RowChunk, void, void> {
    for (;;) {
      if (typeof this.#end === 'object') throw this.#end.error
      const chunk = this.#chunks.shift()
      if (chunk !== undefined) {
        this.#onTaken()
        yield chunk
      } else if (this.#end === 'end') return
      else {
        await new Promise<void>((resolve) => {
          this.#ring = resolve
        })
      }
    }
  }
}
