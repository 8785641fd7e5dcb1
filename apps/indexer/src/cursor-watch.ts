// Notices a listing that goes round in circles, in constant memory (Brent's cycle detection): one earlier cursor is
// kept and replaced after 1, 2, 4, 8... pages, so a cycle of n pages is seen within 3n pages after it began.

export class CursorWatch {
  #kept: string | undefined
  #pagesSince = 0
  #keepFor = 1

  /** True if `cursor` was given before, on a page that is still remembered. */
  repeats(cursor: string): boolean {
    if (cursor === this.#kept) return true
    if (++this.#pagesSince >= this.#keepFor) {
      this.#kept = cursor
      this.#pagesSince = 0
      this.#keepFor *= 2
    }
    return false
  }
}
