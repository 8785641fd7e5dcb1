// A bell: `wait` ends when somebody rings, when time is up, or when the signal aborts. A ring with nobody waiting is kept.
// A crawl waits some thousand times a second, so a wait makes no AbortController (which cost a tenth of a crawl of tiny repos).

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

  wake(): void {
    this.#rung = true
    this.#ring?.()
  }

  /** Throws the signal's reason when it aborts. */
  async wait(maxMs: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (!this.#rung) await this.#ringOrTimeout(maxMs, signal)
    this.#rung = false
    signal.throwIfAborted()
  }

  #ringOrTimeout(maxMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const end = () => {
        clearTimeout(timer)
        signal.removeEventListener('abort', end)
        this.#ring = undefined
        resolve()
      }
      const timer = setTimeout(end, maxMs)
      signal.addEventListener('abort', end)
      this.#ring = end
    })
  }
}
