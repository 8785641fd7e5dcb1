// The bytes that all repos in flight hold together, as one number with a limit (invariant I4), shared by all threads: one for
// memory, one for the disk. Nobody waits for either: `take` answers at once. Whoever gets no memory goes on by way of the disk;
// whoever gets no disk is tried again later.

export class MemoryBudget {
  readonly limitBytes: number
  /** For the constructor in another thread: the same budget. */
  readonly shared: SharedArrayBuffer
  /** Held and peak. */
  readonly #sums: BigInt64Array

  constructor(limitBytes: number, shared = new SharedArrayBuffer(16)) {
    this.limitBytes = limitBytes
    this.shared = shared
    this.#sums = new BigInt64Array(shared)
  }

  get heldBytes(): number {
    return Number(Atomics.load(this.#sums, 0))
  }

  get peakBytes(): number {
    return Number(Atomics.load(this.#sums, 1))
  }

  /** Reserves `bytes` if they fit under the limit; false, and nothing reserved, if not. */
  take(bytes: number): boolean {
    const held = Number(Atomics.add(this.#sums, 0, BigInt(bytes))) + bytes
    if (held > this.limitBytes) {
      Atomics.sub(this.#sums, 0, BigInt(bytes))
      return false
    }
    this.#raisePeak(held)
    return true
  }

  give(bytes: number): void {
    const held = Number(Atomics.sub(this.#sums, 0, BigInt(bytes))) - bytes
    if (held < 0) throw new Error(`more memory was given back than taken: ${-held} bytes`)
  }

  #raisePeak(held: number): void {
    for (let peak = Atomics.load(this.#sums, 1); peak < BigInt(held); ) {
      const found = Atomics.compareExchange(this.#sums, 1, peak, BigInt(held))
      if (found === peak) return
      peak = found
    }
  }
}
