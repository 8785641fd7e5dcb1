// Keeps one broken host, or one code on ten thousand hosts, from filling the log: warnings in, and out whether to write each.
// A minute's first few of a kind are written; the rest are counted, and the count stands in the first warning of a later minute.
// Bounded in memory too: strangers choose the hosts that a kind is made of.

export const logQuota = {
  /** Of one message, host and code. */
  perHostAndCode: 5,
  /** Of one message and code, all hosts together. */
  perCode: 60,
  windowMs: 60_000,
  /** Kinds remembered in a window; past it only what is counted by code. */
  maxKinds: 10_000,
}

interface Count {
  written: number
  suppressed: number
}

export class LogQuota {
  readonly #now: () => number
  #startedMs: number
  #counts = new Map<string, Count>()
  /** Of the window before, and not told yet. */
  #untold = new Map<string, number>()

  constructor(now: () => number = Date.now) {
    this.#now = now
    this.#startedMs = now()
  }

  /** `undefined`: do not write it. Otherwise the number of warnings of its message and code that were left out before. */
  ask({ message, host = '', code }: { message: string; host: string | undefined; code: string }): number | undefined {
    if (this.#now() - this.#startedMs >= logQuota.windowMs) this.#turn()
    const kind = `${message} ${code}`
    const all = this.#count(kind)
    const one = this.#counts.size < logQuota.maxKinds ? this.#count(`${kind} ${host}`) : all
    if (all.written >= logQuota.perCode || (one !== all && one.written >= logQuota.perHostAndCode)) {
      all.suppressed++
      return undefined
    }
    all.written++
    if (one !== all) one.written++
    const untold = this.#untold.get(kind) ?? 0
    this.#untold.delete(kind)
    return untold
  }

  #turn(): void {
    this.#startedMs = this.#now()
    for (const [kind, { suppressed }] of this.#counts) {
      if (suppressed > 0) this.#untold.set(kind, (this.#untold.get(kind) ?? 0) + suppressed)
    }
    this.#counts = new Map()
  }

  #count(kind: string): Count {
    const known = this.#counts.get(kind) ?? { written: 0, suppressed: 0 }
    this.#counts.set(kind, known)
    return known
  }
}
