// One request on the wire: options in, status, headers and a body that is pulled chunk by chunk out.
// In place of undici's `request`, whose Readable joins chunks that wait (a copy of most bytes) and was a sixth of what a tiny
// repo costs. A body that is not pulled stops the host after `queueBytes`.
import { type Dispatcher, errors } from 'undici'
import { hearAbort, ignoreAbort } from './abort-listeners.ts'
import type { HeaderMap } from './rate-limit.ts'

export interface RawAnswer {
  status: number
  headers: HeaderMap
  body: RawBody
}

export interface RawBody {
  /** The host has sent all of it. */
  readonly ended: boolean
  /** Bytes that are here and were not pulled yet. */
  readonly queuedBytes: number
  /** The next bytes as they came off the wire, not copied; undefined at the end. One call at a time. Throws what undici says. */
  next(): Uint8Array | undefined | Promise<Uint8Array | undefined>
  /** Breaks the connection if there is more to come; who waits for a chunk gets `reason`. */
  destroy(reason?: Error): void
}

/** As much as one read of a socket gives, twice. */
const queueBytes = 128 * 1024
/** Answers below 200 before the one that counts. A host that sends hints sends one or two. */
const maxInformational = 8

/** An abort throws the signal's reason, here or from the body. */
export function exchange(
  dispatcher: Dispatcher,
  options: Dispatcher.DispatchOptions,
  signal: AbortSignal | undefined,
): Promise<RawAnswer> {
  const handler = new Exchange(options.headersTimeout ?? undefined, signal)
  dispatcher.dispatch(options, handler)
  return handler.answer
}

class Exchange implements Dispatcher.DispatchHandler, RawBody {
  ended = false
  queuedBytes = 0
  readonly #headersTimeoutMs: number | undefined
  readonly #signal: AbortSignal | undefined
  readonly #answer = Promise.withResolvers<RawAnswer>()
  readonly #queue: Uint8Array[] = []
  #controller: Dispatcher.DispatchController | undefined
  #failure: { error: unknown } | undefined
  #waiting: PromiseWithResolvers<Uint8Array | undefined> | undefined
  #startedMs = 0
  #informational = 0
  #deadline: NodeJS.Timeout | undefined

  constructor(headersTimeoutMs: number | undefined, signal: AbortSignal | undefined) {
    this.#headersTimeoutMs = headersTimeoutMs
    this.#signal = signal
    if (signal !== undefined) hearAbort(signal, this.#fail)
  }

  get answer(): Promise<RawAnswer> {
    return this.#answer.promise
  }

  next(): Uint8Array | undefined | Promise<Uint8Array | undefined> {
    if (this.#failure !== undefined) throw this.#failure.error
    const chunk = this.#queue.shift()
    if (chunk !== undefined) {
      this.queuedBytes -= chunk.length
      if (this.#controller?.paused && this.queuedBytes < queueBytes) this.#controller.resume()
      return chunk
    }
    if (this.ended) return undefined
    this.#waiting = Promise.withResolvers()
    return this.#waiting.promise
  }

  destroy(reason?: Error): void {
    if (!this.ended) this.#fail(reason ?? new Error('no more of this body is wanted'))
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller
    this.#startedMs = performance.now()
    if (this.#failure !== undefined) controller.abort(asError(this.#failure.error))
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: HeaderMap): void {
    if (status < 200) {
      this.#hearInformational(status)
    } else {
      clearTimeout(this.#deadline)
      this.#answer.resolve({ status, headers, body: this })
    }
  }

  /** undici's own timeout begins anew with each informational answer, and would never come to its end. */
  #hearInformational(status: number): void {
    const giveUp = () => this.#fail(new errors.HeadersTimeoutError(`${this.#informational} times ${status}, no answer`))
    if (++this.#informational > maxInformational) giveUp()
    else if (this.#headersTimeoutMs !== undefined)
      this.#deadline ??= setTimeout(giveUp, Math.max(1, this.#startedMs + this.#headersTimeoutMs - performance.now()))
  }

  onResponseData(controller: Dispatcher.DispatchController, chunk: Uint8Array): void {
    if (this.#failure !== undefined) return
    if (this.#waiting !== undefined) {
      this.#waiting.resolve(chunk)
      this.#waiting = undefined
      return
    }
    this.#queue.push(chunk)
    this.queuedBytes += chunk.length
    if (this.queuedBytes >= queueBytes) controller.pause()
  }

  onResponseEnd(): void {
    this.ended = true
    if (this.#signal !== undefined) ignoreAbort(this.#signal, this.#fail)
    this.#waiting?.resolve(undefined)
    this.#waiting = undefined
  }

  onResponseError(_: unknown, error: unknown): void {
    this.#fail(error)
  }

  readonly #fail = (error: unknown): void => {
    if (this.#failure !== undefined || this.ended) return
    this.#failure = { error }
    clearTimeout(this.#deadline)
    this.#queue.length = 0
    this.queuedBytes = 0
    if (this.#signal !== undefined) ignoreAbort(this.#signal, this.#fail)
    this.#answer.reject(error)
    this.#waiting?.reject(error)
    this.#waiting = undefined
    this.#controller?.abort(asError(error))
  }
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error(String(reason))
}
