// A bell: `wait` ends when somebody rings, when time is up, or when the signal aborts. A ring with nobody waiting is kept.
// A crawl waits some thousand times a second, so a wait makes no AbortController (which cost a tenth of a crawl of tiny repos) and no
// listener of its own.
import { hearAbort, ignoreAbort } from './abort-listeners.ts'

/** What one stage tells the next, so that it looks at once; what there is to find stands in the database. */
export class News {
  readonly bell = new Wakeup()
  /** How often it was told. */
  times = 0

  tell(): void {
    this.times++
    this.bell.wake()
  }
}

export class Wakeup {
  #rung = false
  #ring: (() => void) | undefined
  /** Whose abort rings as well: that of the last wait. */
  #heard: AbortSignal | undefined
  readonly #onAbort = () => this.wake()

  wake(): void {
    this.#rung = true
    this.#ring?.()
  }

  /** Throws the signal's reason when it aborts. */
  async wait(maxMs: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    this.#hear(signal)
    if (!this.#rung) await this.#ringOrTimeout(maxMs)
    this.#rung = false
    signal.throwIfAborted()
  }

  #hear(signal: AbortSignal): void {
    if (signal === this.#heard) return
    if (this.#heard !== undefined) ignoreAbort(this.#heard, this.#onAbort)
    this.#heard = signal
    hearAbort(signal, this.#onAbort)
  }

  #ringOrTimeout(maxMs: number): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer)
        this.#ring = undefined
        resolve()
      }
      const timer = setTimeout(end, maxMs)
      this.#ring = end
    })
  }
}
