// A bell: `wait` ends when somebody rings, when time is up, or when the signal aborts. A ring with nobody waiting is kept.
import { setTimeout as sleep } from 'node:timers/promises'

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
    if (!this.#rung) {
      const enough = new AbortController()
      const rung = new Promise<void>((resolve) => {
        this.#ring = resolve
      })
      await Promise.race([rung, sleep(maxMs, undefined, { signal: AbortSignal.any([signal, enough.signal]) })]).catch(
        () => undefined,
      )
      enough.abort()
      this.#ring = undefined
    }
    this.#rung = false
    signal.throwIfAborted()
  }
}
