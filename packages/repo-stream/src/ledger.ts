// The account of one load's memory: what it holds, against its own limit and against the budget that it may share.
import type { MemoryBudget } from './types.ts'

export class Ledger {
  readonly #limitBytes: number
  readonly #budget: MemoryBudget | undefined
  #held = 0
  #taken = 0

  constructor(limitBytes: number, budget: MemoryBudget | undefined) {
    this.#limitBytes = limitBytes
    this.#budget = budget
  }

  get heldBytes(): number {
    return this.#held
  }

  /** What is left below the limit. The budget may still refuse it. */
  get roomBytes(): number {
    return Math.max(0, this.#limitBytes - this.#held)
  }

  /** Asks for memory before it is allocated. */
  take(bytes: number): boolean {
    if (this.#held + bytes > this.#limitBytes) return false
    if (this.#budget !== undefined && !this.#budget.take(bytes)) return false
    this.#held += bytes
    this.#taken += bytes
    return true
  }

  /** For what a spilled load cannot do without: it is held whatever the limit, and shared where the budget agrees. */
  takeAnyway(bytes: number): void {
    this.#held += bytes
    if (this.#budget === undefined || this.#budget.take(bytes)) this.#taken += bytes
  }

  /** Asks for memory that a spilled load can use: all of it, or a sixteenth, or nothing. Gives what was granted. */
  share(bytes: number): number {
    for (const part of [bytes, Math.floor(bytes / 16)]) {
      if (this.#budget !== undefined && !this.#budget.take(part)) continue
      this.#held += part
      this.#taken += part
      return part
    }
    return 0
  }

  give(bytes: number): void {
    this.#held -= bytes
    const back = Math.min(bytes, this.#taken)
    this.#taken -= back
    if (back > 0) this.#budget?.give(back)
  }

  giveAll(): void {
    this.give(this.#held)
  }
}
