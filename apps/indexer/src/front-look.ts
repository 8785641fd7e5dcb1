// When a walk that goes forward by id begins at the front again: for what was committed behind it, by another listing or another process.
// From the front dead entries of the index are read again, so while it finds something that is rare. One that finds nothing looks sooner:
// what was committed late then waits about as long as there was nothing to do, not a quarter of a minute at the end of every crawl.

const maxPauseMs = 15_000
const minPauseMs = 500

export class FrontLook {
  #lookedAtMs: number
  #idleSinceMs: number | undefined

  constructor(lookedAtMs: number) {
    this.#lookedAtMs = lookedAtMs
  }

  /** True once: the walk begins at the front now. */
  isDue(nowMs: number): boolean {
    const idleMs = this.#idleSinceMs === undefined ? Number.POSITIVE_INFINITY : nowMs - this.#idleSinceMs
    const pauseMs = Math.min(maxPauseMs, Math.max(minPauseMs, idleMs / 2))
    if (nowMs - this.#lookedAtMs <= pauseMs) return false
    this.#lookedAtMs = nowMs
    return true
  }

  /** What the walk came to. */
  found(something: boolean, nowMs: number): void {
    if (something) this.#idleSinceMs = undefined
    else this.#idleSinceMs ??= nowMs
  }
}
