// Memory that nobody needs any more, for whoever needs as much next: by size, and so many bytes in all. New memory must be cleared, is told
// to the collector, and comes page by page from the system.

/** At most `maxBytes` are kept; sizes are in bytes, and only an equal one is found. */
export class Spares<Spare> {
  readonly #maxBytes: number
  readonly #bySize = new Map<number, Spare[]>()
  #bytes = 0

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  take(bytes: number): Spare | undefined {
    const spare = this.#bySize.get(bytes)?.pop()
    if (spare !== undefined) this.#bytes -= bytes
    return spare
  }

  /** False: there are enough, and the spare is the caller's still. */
  keep(bytes: number, spare: Spare): boolean {
    if (this.#bytes + bytes > this.#maxBytes) return false
    this.#bytes += bytes
    const alike = this.#bySize.get(bytes)
    if (alike === undefined) this.#bySize.set(bytes, [spare])
    else alike.push(spare)
    return true
  }
}
