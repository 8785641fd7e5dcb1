// How long a host was left idle. In: when it could be asked, when a slot was free, when it was asked. Out: the share of
// its allowance that was idled away. While it may be asked (a repo is due, it is alive, a slot is free) its allowance grows
// at its own rate; a request takes one. A burst within what a window bears may make up for a pause; what is beyond that,
// or left at the end, is idle time.

/** Counts the time in which a slot was free, whoever could use it. */
export class FreeTime {
  private total = 0
  private sinceMs: number | undefined

  until(nowMs: number): number {
    return this.total + (this.sinceMs === undefined ? 0 : nowMs - this.sinceMs)
  }

  set(free: boolean, nowMs: number): void {
    this.total = this.until(nowMs)
    this.sinceMs = free ? nowMs : undefined
  }
}

export class IdleMeter {
  /** Allowance that grew while the host could be asked, in requests. */
  granted = 0
  private lost = 0
  private credit = 0
  private openedAt: number | undefined
  private ratePerMs = 0
  private burst = 1
  private readonly free: FreeTime

  constructor(free: FreeTime) {
    this.free = free
  }

  /** From now on it may be asked, at this rate, or (`undefined`) may not. */
  open(rate: { limit: number; windowMs: number } | undefined, nowMs: number): void {
    this.settle(nowMs)
    this.openedAt = rate && this.free.until(nowMs)
    if (!rate) return
    this.ratePerMs = rate.limit / rate.windowMs
    this.burst = Math.max(1, rate.limit * 0.015)
  }

  ask(nowMs: number): void {
    this.settle(nowMs)
    this.credit = Math.max(this.credit - 1, -this.burst)
  }

  /** Requests that could have been made and were not. */
  idled(nowMs: number): number {
    this.settle(nowMs)
    return this.lost + Math.max(this.credit, 0)
  }

  private settle(nowMs: number): void {
    if (this.openedAt === undefined) return
    const freeMs = this.free.until(nowMs)
    const grown = (freeMs - this.openedAt) * this.ratePerMs
    this.openedAt = freeMs
    this.granted += grown
    this.credit += grown
    if (this.credit > this.burst) {
      this.lost += this.credit - this.burst
      this.credit = this.burst
    }
  }
}
