// The source of a CAR as a queue of chunks: one at a time, asked for only when wanted, cancelled once. An abort, and the end of
// the load, reject the chunk that is waited for at once, whatever the source does.
import { RepoStreamError } from './errors.ts'
import type { CarSource } from './types.ts'

export class Input {
  readonly #iterator: Iterator<Uint8Array> | AsyncIterator<Uint8Array>
  readonly #signal: AbortSignal | undefined
  #rejectPending: ((reason: unknown) => void) | undefined
  #ended = false

  constructor(source: Exclude<CarSource, Uint8Array>, signal: AbortSignal | undefined) {
    this.#iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
    this.#signal = signal
    if (signal !== undefined) listen(signal, this)
  }

  abort(reason: unknown): void {
    this.#rejectPending?.(reason)
  }

  /** The next chunk, or undefined at the end. A source that is ready at once (an array of chunks) costs no promise. */
  next(): Uint8Array | undefined | Promise<Uint8Array | undefined> {
    this.#signal?.throwIfAborted()
    if (this.#ended) return undefined
    const result = this.#iterator.next()
    return 'then' in result ? this.#wait(result) : this.#take(result) // also a promise of another realm, or what is only like one
  }

  /** Tells the source that no more is wanted; does not wait for it, because it may hang. Nor does who waits for a chunk. */
  cancel(): void {
    if (this.#signal !== undefined) leave(this.#signal, this)
    this.#rejectPending?.(new RepoStreamError('Closed', 'the load was closed while a chunk was waited for'))
    if (this.#ended) return
    this.#ended = true
    try {
      const done = this.#iterator.return?.()
      if (done !== undefined && 'then' in done) Promise.resolve(done).catch(() => {})
    } catch {} // a source that fails to stop has nothing to tell us any more
  }

  async #wait(result: Promise<IteratorResult<Uint8Array>>): Promise<Uint8Array | undefined> {
    try {
      const arrived = await new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
        this.#rejectPending = reject
        result.then(resolve, reject)
      })
      return this.#take(arrived)
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

/** One listener for all inputs of a signal: among many, adding and removing each one's was 2 % of a tiny repo. */
interface Listening {
  readonly inputs: Set<Input>
  readonly onAbort: () => void
}
const listening = new WeakMap<AbortSignal, Listening>()

function listen(signal: AbortSignal, input: Input): void {
  const known = listening.get(signal)
  if (known !== undefined) {
    known.inputs.add(input)
    return
  }
  const inputs = new Set([input])
  const onAbort = (): void => {
    for (const one of inputs) one.abort(signal.reason)
  }
  listening.set(signal, { inputs, onAbort })
  signal.addEventListener('abort', onAbort)
}

function leave(signal: AbortSignal, input: Input): void {
  const known = listening.get(signal)
  if (known === undefined || !known.inputs.delete(input) || known.inputs.size > 0) return
  listening.delete(signal)
  signal.removeEventListener('abort', known.onAbort)
}
