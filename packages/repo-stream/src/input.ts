// The source of a CAR as a queue of chunks: one at a time, asked for only when wanted, cancelled once. An abort, and the end of
// the load, reject the chunk that is waited for at once, whatever the source does.
import { RepoStreamError } from './errors.ts'
import type { CarSource } from './types.ts'

export class Input {
  readonly #iterator: Iterator<Uint8Array> | AsyncIterator<Uint8Array>
  readonly #signal: AbortSignal | undefined
  readonly #onAbort = (): void => this.#rejectPending?.(this.#signal?.reason)
  #rejectPending: ((reason: unknown) => void) | undefined
  #ended = false

  constructor(source: Exclude<CarSource, Uint8Array>, signal: AbortSignal | undefined) {
    this.#iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
    this.#signal = signal
    signal?.addEventListener('abort', this.#onAbort)
  }

  /** The next chunk, or undefined at the end. A source that is ready at once (an array of chunks) costs no promise. */
  next(): Uint8Array | undefined | Promise<Uint8Array | undefined> {
    this.#signal?.throwIfAborted()
    if (this.#ended) return undefined
    const result = this.#iterator.next()
    return result instanceof Promise ? this.#wait(result) : this.#take(result)
  }

  /** Tells the source that no more is wanted; does not wait for it, because it may hang. Nor does who waits for a chunk. */
  cancel(): void {
    this.#signal?.removeEventListener('abort', this.#onAbort)
    this.#rejectPending?.(new RepoStreamError('Closed', 'the load was closed while a chunk was waited for'))
    if (this.#ended) return
    this.#ended = true
    try {
      const done = this.#iterator.return?.()
      if (done instanceof Promise) done.catch(() => {})
    } catch {} // a source that fails to stop has nothing to tell us any more
  }

  async #wait(result: Promise<IteratorResult<Uint8Array>>): Promise<Uint8Array | undefined> {
    try {
      const aborted = new Promise<never>((_, reject) => {
        this.#rejectPending = reject
      })
      return this.#take(await Promise.race([result, aborted]))
    } finally {
      this.#rejectPending = undefined
    }
  }

  #take(result: IteratorResult<Uint8Array>): Uint8Array | undefined {
    if (result.done === true) {
      this.#ended = true
      return undefined
    }
    if (!(result.value instanceof Uint8Array)) throw new TypeError('a chunk of the CAR is not a Uint8Array')
    return result.value
  }
}
