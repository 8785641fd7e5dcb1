// Whether a host bears what we ask of it: how many requests at a time, and when not at all. In: outcomes. Out: its
// concurrency and the end of its cool-down. A host that died is asked again after a small part of the time that it has
// been dead for, so one that comes back soon is missed for moments and one that never does costs next to nothing.

export interface HealthLimits {
  /** Requests at a time to one host. */
  readonly hostConcurrency: number
  /** The same before its first answer: nobody knows yet what it bears. */
  readonly firstConcurrency: number
  /** Failures in a row that begin a cool-down. */
  readonly coolAfterFailures: number
  readonly minimumCoolMs: number
  readonly maximumCoolMs: number
  /** Part of the time that a host has been dead for after which it is asked again. */
  readonly coolShare: number
  /** Share of failures among the last outcomes at which the concurrency is halved. */
  readonly struggleShare: number
}

export type HostState = 'ok' | 'cooling' | 'probing'

export class Health {
  /** The current limit of requests at a time, without cool-down. */
  concurrency: number
  /** Failures in a row. */
  failures = 0
  coolUntilMs = 0
  /** Of the failures in a row, the first; the host may have died then. */
  deadSinceMs: number | undefined
  /** A failure was met since the host was restored or taken over: the time in which nobody asked says nothing of the host. */
  failedHere = false
  private readonly limits: HealthLimits
  private answered = false
  private probing = false
  /** Requests that were in flight when the cool-down began: their failures are no news. */
  private strays = 0
  private failedShare = 0
  private outcomesUntilCut = 0

  constructor(limits: HealthLimits) {
    this.limits = limits
    this.concurrency = limits.hostConcurrency
  }

  state(nowMs: number): HostState {
    if (!this.probing) return 'ok'
    return nowMs < this.coolUntilMs ? 'cooling' : 'probing'
  }

  /** Requests that may be in flight, once the cool-down is over. */
  allowed(): number {
    if (this.probing) return this.strays + 1
    return this.answered ? this.concurrency : Math.min(this.concurrency, this.limits.firstConcurrency)
  }

  /** `inFlight`: without the request that succeeded. */
  succeeded(inFlight: number): void {
    if (this.probing) {
      this.concurrency = Math.max(4, this.concurrency >> 1)
      this.failedShare = 0
    }
    this.strays = Math.max(this.strays - 1, 0)
    this.probing = false
    this.answered = true
    this.failures = 0
    this.coolUntilMs = 0
    this.deadSinceMs = undefined
    this.countOutcome(0)
    const bound = inFlight + 1 >= this.concurrency
    if (bound && this.failedShare < this.limits.struggleShare / 2) {
      this.concurrency = Math.min(this.concurrency + 1, this.limits.hostConcurrency)
    }
  }

  /** `inFlight`: without the request that failed. */
  failed(inFlight: number, nowMs: number): void {
    if (this.strays > 0) {
      this.strays--
      return
    }
    this.answered = true
    this.failedHere = true
    this.failures++
    this.deadSinceMs ??= nowMs
    this.countOutcome(1)
    if (this.probing || this.failures >= this.limits.coolAfterFailures) this.cool(this.deadSinceMs, inFlight, nowMs)
    else if (this.failedShare > this.limits.struggleShare && this.outcomesUntilCut <= 0) {
      this.concurrency = Math.max(1, Math.min(this.concurrency, inFlight + 1) >> 1)
      this.outcomesUntilCut = Math.max(this.concurrency, 8)
    }
  }

  /** What was known before a restart: it goes on to be asked as rarely. */
  restore(deadSinceMs: number, coolUntilMs: number): void {
    this.deadSinceMs = deadSinceMs
    this.coolUntilMs = coolUntilMs
    this.failures = this.limits.coolAfterFailures
    this.probing = true
  }

  private cool(deadSinceMs: number, inFlight: number, nowMs: number): void {
    const { minimumCoolMs, maximumCoolMs, coolShare } = this.limits
    const coolMs = Math.min(Math.max((nowMs - deadSinceMs) * coolShare, minimumCoolMs), maximumCoolMs)
    this.coolUntilMs = nowMs + coolMs
    this.probing = true
    this.strays = inFlight
  }

  private countOutcome(failed: 0 | 1): void {
    // Of about the last 32: five failures in a hundred by chance stay nine deviations below a share of 0.3.
    this.failedShare += (failed - this.failedShare) / 32
    this.outcomesUntilCut--
  }
}
