// Paces the requests of one kind to one host: evenly, just under what the host allows. In: what its headers say. Out: when
// the next request may be sent. Even pacing keeps every window under its limit, wherever the host lets it begin: requests
// in any window W are at most burst + rate * (W + jitter), and the rate is chosen so that this is the limit.
import type { RateLimit } from './rate-limit.ts'

export interface PaceLimits {
  /** Before a host has said anything, and for hosts that never do. */
  readonly defaultRequests: number
  readonly defaultWindowMs: number
  /** Part of a limit that may be sent at once after a pause; it is taken off the even rate. */
  readonly burstShare: number
  /** How much later than the next one a request may reach the host... */
  readonly jitterMs: number
  /** ...but for short windows at most this part of them. */
  readonly jitterShare: number
  /** The pause after a 429 that does not say until when. */
  readonly limitedMs: number
  /** How long it takes to go back to the full rate after a 429 that our pace did not foresee. */
  readonly recoveryMs: number
  /** Added when the reset of a used-up window is waited for, because headers have whole seconds. */
  readonly resetMarginMs: number
}

/** A part of the pace, which comes back from then on. */
export interface Slowed {
  scale: number
  atMs: number
}

/** What a host has said, as long as it is of use. */
export interface KnownPace {
  limit: number | undefined
  windowMs: number
  /** The end of a pause that the host asked for. */
  notBeforeMs?: number | undefined
  /** The pace after an unforeseen 429, as it was lowered last. */
  slowed?: Slowed | undefined
}

/** Requests remembered by their time; an answer that is older than all of them says nothing about what is left. */
const rememberedSends = 128

/** The grain of Date.now(): what is due in this millisecond is due now. */
const clockMs = 1

export class Bucket {
  /** What the host said last. */
  limit: number | undefined
  remaining: number | undefined
  windowMs: number
  private readonly limits: PaceLimits
  private intervalMs: number
  private burstMs = 0
  /** When the next request is due at an even pace (the theoretical arrival time of GCRA). */
  private dueMs = 0
  /** The end of a pause that the host asked for. */
  notBeforeMs = 0
  /** Until then what is left of a window that others used up too is spread over the rest of it. */
  private slowUntilMs = 0
  private slowIntervalMs = 0
  /** 1, or less after an unforeseen 429. */
  private scale = 1
  private scaledAtMs = 0
  /** When the first request was sent that the present limit answered. */
  private limitFromMs = Number.NEGATIVE_INFINITY
  /** The end of the last pause after a 429. */
  private pausedUntilMs = Number.NEGATIVE_INFINITY
  private readonly sendTimes = new Float64Array(rememberedSends)
  private sent = 0

  constructor(limits: PaceLimits) {
    this.limits = limits
    this.windowMs = limits.defaultWindowMs
    this.intervalMs = this.intervalOf(limits.defaultRequests, limits.defaultWindowMs)
  }

  requestsPerSecond(nowMs: number): number {
    return 1000 / this.currentInterval(nowMs)
  }

  /** The even pace, and what may be sent sooner. */
  get pace(): { intervalMs: number; burstMs: number } {
    return { intervalMs: this.intervalMs, burstMs: this.burstMs }
  }

  /** The earliest time at which a request may be sent. */
  readyAt(nowMs: number): number {
    const even = nowMs < this.slowUntilMs || this.scale < 1
    return Math.max(this.notBeforeMs, this.dueMs - Math.max(even ? 0 : this.burstMs, clockMs))
  }

  take(nowMs: number): void {
    this.sendTimes[this.sent++ % rememberedSends] = nowMs
    const fromMs = Math.max(nowMs, this.dueMs)
    const toMs = fromMs + this.currentInterval(fromMs)
    // Where the spreading ends, a new window begins with all its requests.
    const ends = fromMs < this.slowUntilMs && this.slowUntilMs < toMs
    const beyond = ends ? (toMs - this.slowUntilMs) / (toMs - fromMs) : 0
    this.dueMs = beyond === 0 ? toMs : this.slowUntilMs + beyond * this.currentInterval(this.slowUntilMs)
  }

  /** A request that was taken and not sent. */
  putBack(nowMs: number): void {
    this.sent = Math.max(this.sent - 1, 0)
    this.dueMs -= this.currentInterval(nowMs)
  }

  /** What an answer said to a request of `requestedAtMs`. */
  learn(said: RateLimit, requestedAtMs: number, nowMs: number): void {
    if (requestedAtMs < this.limitFromMs) return // older than the last change of the limit
    const uncounted = this.sentAfter(requestedAtMs)
    if (said.limit !== undefined)
      this.learnLimit(said.limit, said, { requestedAtMs, uncounted: uncounted ?? rememberedSends, nowMs })
    if (said.remaining === undefined) return
    this.remaining = said.remaining
    // A reset of 0 belongs to a window that is over.
    if (!said.resetMs || uncounted === undefined) return
    this.spread(said.remaining - uncounted, said.resetMs, nowMs)
  }

  /** The host wants to be left alone for a while, as with a 503 of one that is being mended: no word of the pace. */
  pause(waitMs: number, nowMs: number): void {
    this.notBeforeMs = Math.max(this.notBeforeMs, nowMs + waitMs)
  }

  /**
   * A 429: a pause, and a lower rate if the host states no limit or says it again in the window after the pause. One that
   * answers a request sent before the last pause ended is no news.
   */
  refuse(said: RateLimit, requestedAtMs: number, nowMs: number): void {
    const waitMs = said.retryAfterMs ?? said.resetMs ?? this.limits.limitedMs
    this.notBeforeMs = Math.max(this.notBeforeMs, nowMs + waitMs + this.limits.resetMarginMs)
    if (requestedAtMs < this.pausedUntilMs) return
    const again = requestedAtMs < this.pausedUntilMs + this.windowMs
    if (again || this.limit === undefined) {
      this.scale = Math.max(this.currentScale(nowMs) * 0.7, 0.01)
      this.scaledAtMs = this.notBeforeMs
    }
    this.pausedUntilMs = this.notBeforeMs
  }

  /** What is worth remembering over a restart, and for another process. */
  known(nowMs: number): KnownPace {
    return {
      limit: this.limit,
      windowMs: this.windowMs,
      notBeforeMs: this.notBeforeMs > nowMs ? this.notBeforeMs : undefined,
      slowed: this.scale < 1 ? { scale: this.scale, atMs: this.scaledAtMs } : undefined,
    }
  }

  restore({ limit, windowMs, notBeforeMs = 0, slowed }: KnownPace): void {
    if (limit !== undefined) {
      this.limit = limit
      this.setPace(limit, windowMs)
    }
    this.notBeforeMs = Math.max(this.notBeforeMs, notBeforeMs)
    if (slowed === undefined || slowed.atMs < this.scaledAtMs) return
    this.scale = slowed.scale
    this.scaledAtMs = slowed.atMs
  }

  /** Another process asked this host until now: there is no burst left, whatever it left unused. */
  takeOver(nowMs: number): void {
    this.dueMs = Math.max(this.dueMs, nowMs + this.burstMs + this.intervalMs)
  }

  private learnLimit(
    limit: number,
    said: RateLimit,
    { requestedAtMs, uncounted, nowMs }: { requestedAtMs: number; uncounted: number; nowMs: number },
  ): void {
    const first = this.limit === undefined
    // Without a policy the longest reset that was seen is the best guess of the window.
    const windowMs = said.windowMs ?? Math.max(first ? 0 : this.windowMs, said.resetMs ?? 0)
    if (limit === this.limit && windowMs === this.windowMs) return
    this.limit = limit
    this.limitFromMs = requestedAtMs
    if (windowMs <= 0) return
    const intervalBefore = this.intervalMs
    this.setPace(limit, windowMs)
    if (first) {
      // All that was sent counts at the new pace.
      const firstSentMs = this.sent <= rememberedSends ? (this.sendTimes[0] ?? nowMs) : nowMs
      this.dueMs = firstSentMs + this.sent * this.intervalMs
    } else if (this.intervalMs > intervalBefore) {
      // What was sent since the host lowered its limit was paid for at the old price.
      this.dueMs += uncounted * (this.intervalMs - intervalBefore)
    } else {
      this.dueMs = Math.min(this.dueMs, nowMs + this.intervalMs)
    }
  }

  private setPace(requests: number, windowMs: number): void {
    this.windowMs = windowMs
    this.intervalMs = this.intervalOf(requests, windowMs)
    this.burstMs = (this.burstOf(requests) - 1) * this.intervalMs
  }

  private intervalOf(requests: number, windowMs: number): number {
    const { jitterMs, jitterShare } = this.limits
    return (windowMs + Math.min(jitterMs, windowMs * jitterShare)) / Math.max(requests - this.burstOf(requests), 0.5)
  }

  private burstOf(requests: number): number {
    return Math.max(1, Math.floor(requests * this.limits.burstShare))
  }

  /**
   * Our own pace never uses a window up, so a shortage is somebody else's use, or a limit that was lowered. One of a burst or
   * less is only what arrived bunched: without that slack, each window of 600 ended in a wait that cost 7 % over real HTTP.
   */
  private spread(remaining: number, resetMs: number, nowMs: number): void {
    this.slowUntilMs = 0
    const usable = remaining + this.burstOf(this.limit ?? 0)
    if (resetMs <= usable * this.intervalMs) return
    if (remaining < 1) {
      this.notBeforeMs = Math.max(this.notBeforeMs, nowMs + resetMs + this.limits.resetMarginMs)
    } else {
      this.slowUntilMs = nowMs + resetMs
      this.slowIntervalMs = resetMs / remaining
    }
  }

  private sentAfter(timeMs: number): number | undefined {
    const kept = Math.min(this.sent, rememberedSends)
    for (let back = 1; back <= kept; back++) {
      if ((this.sendTimes[(this.sent - back) % rememberedSends] ?? 0) <= timeMs) return back - 1
    }
    return this.sent > rememberedSends ? undefined : kept
  }

  private currentInterval(nowMs: number): number {
    return (nowMs < this.slowUntilMs ? this.slowIntervalMs : this.intervalMs) / this.currentScale(nowMs)
  }

  private currentScale(nowMs: number): number {
    if (this.scale === 1) return 1
    const recovered = this.scale + Math.max(nowMs - this.scaledAtMs, 0) / this.limits.recoveryMs
    if (recovered >= 1) this.scale = 1
    return Math.min(recovered, 1)
  }
}
