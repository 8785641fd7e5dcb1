// How large repos share a thread with the small ones beside them: after a step of a large one all large ones rest, so that one has a
// small share of the thread. In: how long each step took; out: a promise that is done when the rest is over.
// Without small ones nobody rests, nor in a thread that mostly waits for hosts. Without rests one huge repo halved the rate of 10,000 tiny
// ones; with them they keep 0.91 of it (bench:big-repo). The more large ones there are, the larger their share: else they pile up until
// all memory is theirs, and at the end they are all there is to do.
import { setTimeout as sleep } from 'node:timers/promises'

/** Bytes of a CAR past which its repo is large. */
const largeCarBytes = 8 * 1024 * 1024
/** Time of the small ones for each unit of a large one's time; of two large ones an eighth of it, of three a 27th. */
const smallShare = 9
/** Shorter rests are saved up: a timer is no more exact. */
const minRestMs = 5
/** A turn of a thread with a hundred small ones takes 50 to 200 ms, so rests are far too long: so much of that is made up for by the next ones. */
const maxMadeUpMs = 250
/** How busy the thread is, large ones included, is asked this often. */
const lookMs = 250
const busyUtilization = 0.5

export class Pace {
  small = 0
  large = 0
  #restUntilMs = performance.now()
  #lookedAtMs = performance.now()
  #lastLook = performance.eventLoopUtilization()
  #isBusy = true

  /** A repo begins in this thread; it counts as small until its first step. */
  enter(): RepoPace {
    return new RepoPace(this)
  }

  /** Of a repo that is large. */
  async rest(stepMs: number): Promise<void> {
    const nowMs = performance.now()
    if (nowMs - this.#lookedAtMs >= lookMs) this.#look(nowMs)
    if (!this.#isBusy) return
    this.#restUntilMs = Math.max(nowMs - maxMadeUpMs, this.#restUntilMs) + (stepMs * smallShare) / this.large ** 3
    const restMs = this.#restUntilMs - nowMs
    if (restMs >= minRestMs) await sleep(restMs)
  }

  #look(nowMs: number): void {
    const now = performance.eventLoopUtilization()
    this.#isBusy = performance.eventLoopUtilization(now, this.#lastLook).utilization > busyUtilization
    this.#lastLook = now
    this.#lookedAtMs = nowMs
  }
}

export class RepoPace implements Disposable {
  readonly #pace: Pace
  #large = false
  #bytes = 0

  constructor(pace: Pace) {
    this.#pace = pace
    pace.small++
  }

  /** Of its CAR. */
  received(bytes: number): void {
    this.#bytes += bytes
  }

  /** A CAR's chunks; the steps of a large one are what their taker does with each. */
  chunks(source: AsyncIterable<Uint8Array>): AsyncIterableIterator<Uint8Array, undefined, undefined> {
    return new PacedChunks(source[Symbol.asyncIterator](), this)
  }

  get isLarge(): boolean {
    return this.#bytes > largeCarBytes
  }

  /** After a step of a repo that is large. */
  async worked(stepMs: number): Promise<void> {
    if (!this.#large) {
      this.#large = true
      this.#pace.small--
      this.#pace.large++
    }
    if (this.#pace.small > 0) await this.#pace.rest(stepMs)
  }

  [Symbol.dispose](): void {
    if (this.#large) this.#pace.large--
    else this.#pace.small--
  }
}

class PacedChunks implements AsyncIterableIterator<Uint8Array, undefined, undefined> {
  readonly #chunks: AsyncIterator<Uint8Array>
  readonly #pace: RepoPace
  #gaveAtMs: number | undefined

  constructor(chunks: AsyncIterator<Uint8Array>, pace: RepoPace) {
    this.#chunks = chunks
    this.#pace = pace
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<Uint8Array, undefined>> {
    return this.#pace.isLarge ? this.#nextOfLarge() : this.#chunks.next()
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    return (await this.#chunks.return?.()) ?? { done: true, value: undefined }
  }

  async #nextOfLarge(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.#gaveAtMs !== undefined) await this.#pace.worked(performance.now() - this.#gaveAtMs)
    const next = await this.#chunks.next()
    this.#gaveAtMs = performance.now()
    return next
  }
}
