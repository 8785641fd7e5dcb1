// What a bench host really does, whatever the scheduler believes: counts, refuses, fails, dies, changes its limit.
// In: the arrival of a request. Out: how it is answered, with the headers of the reference PDS. Also the queue of events.
import type { RateLimit } from '../src/rate-limit.ts'
import { type BenchHost, randomFrom } from './hosts-population.ts'

export type Fate = 'served' | 'failed' | 'refused' | 'unreachable' | 'silent'

export class HostTruth {
  requests = 0
  refused = 0
  /** Requests for which the window before them was already full, however the host itself counts. */
  overLimit = 0
  limit: number
  private readonly host: BenchHost
  private readonly failureShare: number
  private readonly random: () => number
  private changesSeen = 0
  private windowEndMs = 0
  private counted = 0
  /** The last requests in time: as many as the largest limit. */
  private readonly arrivals: Float64Array
  private arrived = 0
  private limitBefore: number
  private changedAtMs = Number.NEGATIVE_INFINITY

  /** Which of its requests fail depends on the seed alone, so that a virtual and a real run meet the same failures. */
  constructor(host: BenchHost, options: { failureShare: number; seed: number }) {
    this.host = host
    this.failureShare = options.failureShare
    this.random = randomFrom(options.seed)
    this.limit = host.limit
    this.limitBefore = host.limit
    this.arrivals = new Float64Array(Math.max(host.limit, ...host.changes.map(({ limit }) => limit)))
  }

  /** The next moment at which the host dies, returns or changes its limit. */
  nextTurningPoint(afterMs: number): number {
    const times = [
      ...this.host.changes.map(({ atMs }) => atMs),
      ...this.host.deaths.flatMap(({ fromMs, toMs }) => [fromMs, toMs]),
    ]
    return Math.min(...times.filter((time) => time > afterMs))
  }

  alive(nowMs: number): boolean {
    return !this.deathAt(nowMs)
  }

  /** Brings the limit up to date. */
  advance(nowMs: number): void {
    for (;;) {
      const change = this.host.changes[this.changesSeen]
      if (!change || change.atMs > nowMs) return
      this.changesSeen++
      this.limitBefore = this.limit
      this.changedAtMs = change.atMs
      this.limit = change.limit
      this.windowEndMs = 0
    }
  }

  /** `resetAtMs`: when the window ends, if the host tells. */
  arrive(nowMs: number): { fate: Fate; rateLimit: RateLimit; resetAtMs?: number } {
    this.advance(nowMs)
    this.requests++
    const death = this.deathAt(nowMs)
    if (death) return { fate: death.silent ? 'silent' : 'unreachable', rateLimit: {} }
    this.audit(nowMs)
    if (nowMs >= this.windowEndMs) {
      this.windowEndMs = nowMs + this.host.windowMs
      this.counted = 0
    }
    this.counted++
    const used =
      this.host.limiter === 'fixed'
        ? this.counted
        : this.arrivedSince(Math.max(nowMs - this.host.windowMs, this.changedAtMs))
    const { windowMs, limiter } = this.host
    const rateLimit: RateLimit = { limit: this.limit, windowMs, remaining: Math.max(this.limit - used, 0) }
    const reset = limiter === 'fixed' ? { resetAtMs: this.windowEndMs } : {}
    if (used > this.limit) {
      this.refused++
      const retryAfterMs = limiter === 'fixed' ? this.windowEndMs - nowMs : windowMs / this.limit
      return { fate: 'refused', rateLimit: { ...rateLimit, retryAfterMs }, ...reset }
    }
    return { fate: this.random() < this.failureShare ? 'failed' : 'served', rateLimit, ...reset }
  }

  private deathAt(nowMs: number) {
    return this.host.deaths.find(({ fromMs, toMs }) => nowMs >= fromMs && nowMs < toMs)
  }

  private audit(nowMs: number): void {
    const straddles = nowMs - this.changedAtMs < this.host.windowMs
    const allowed = straddles ? Math.max(this.limit, this.limitBefore) : this.limit
    const size = this.arrivals.length
    const before = this.arrived >= allowed ? this.arrivals[(this.arrived - allowed) % size] : undefined
    if (before !== undefined && nowMs - before < this.host.windowMs) this.overLimit++
    this.arrivals[this.arrived++ % size] = nowMs
  }

  /** How many of the last requests came after a time; the newest is among them. */
  private arrivedSince(timeMs: number): number {
    const size = this.arrivals.length
    let low = Math.max(0, this.arrived - size)
    let high = this.arrived
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.arrivals[middle % size] ?? 0) > timeMs) high = middle
      else low = middle + 1
    }
    return this.arrived - low
  }
}

/** Events in the order of their times: a binary heap. */
export class EventQueue<Event extends { atMs: number }> {
  private readonly events: Event[] = []

  get nextAtMs(): number | undefined {
    return this.events[0]?.atMs
  }

  add(event: Event): void {
    const { events } = this
    let at = events.length
    events.push(event)
    while (at > 0) {
      const parentAt = (at - 1) >> 1
      const parent = events[parentAt]
      if (!parent || parent.atMs <= event.atMs) break
      events[at] = parent
      at = parentAt
    }
    events[at] = event
  }

  take(): Event | undefined {
    const { events } = this
    const first = events[0]
    const last = events.pop()
    if (!last || last === first) return first
    let at = 0
    for (;;) {
      let childAt = 2 * at + 1
      const right = events[childAt + 1]
      let child = events[childAt]
      if (right && child && right.atMs < child.atMs) {
        child = right
        childAt++
      }
      if (!child || child.atMs >= last.atMs) break
      events[at] = child
      at = childAt
    }
    events[at] = last
    return first
  }
}
