// The bytes that all repos in flight hold together, as one number with a limit (invariant I4).
// Nobody waits for memory: `take` answers at once, and whoever gets none goes on by way of the disk.

export class MemoryBudget {
  readonly limitBytes: number
  #heldBytes = 0
  #peakBytes = 0

  constructor(limitBytes: number) {
    this.limitBytes = limitBytes
  }

  get heldBytes(): number {
    return this.#heldBytes
  }

  get peakBytes(): number {
    return this.#peakBytes
  }

  /** Reserves `bytes` if they fit under the limit; false, and nothing reserved, if not. */
  take(bytes: number): boolean {
    if (this.#heldBytes + bytes > this.limitBytes) return false
    this.#heldBytes += bytes
    this.#peakBytes = Math.max(this.#peakBytes, this.#heldBytes)
    return true
  }

  give(bytes: number): void {
    this.#heldBytes -= bytes
    if (this.#heldBytes < 0) throw new Error(`more memory was given back than taken: ${-this.#heldBytes} bytes`)
  }
}
