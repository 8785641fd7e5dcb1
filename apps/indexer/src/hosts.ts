// Decides which host is asked next, so that every host is as busy as it allows and none keeps the others waiting.
// In: hosts with work, what answers say, outcomes, a clock. Out: the host whose turn it is, or how long to wait. Pure: no
// timers, no I/O, and its memory is that of the hosts, however many repos wait. The surprise is the order: half of the slots
// are shared evenly; the other half goes to the hosts with the most work per allowed request, for they will end last.
import type { KnownPace } from './hosts-bucket.ts'
import { Heap } from './hosts-heap.ts'
import { createHost, describeHost, type Host, type HostRow, type RestoredHost, restoreHost } from './hosts-host.ts'
import { defaultHostLimits, type HostLimits } from './hosts-limits.ts'
import { type TurnResult, turnOutcome } from './hosts-outcome.ts'
import type { RateLimit } from './rate-limit.ts'

export interface HostsOptions {
  /** Milliseconds; the clock of `ResponseSeen`. */
  now: () => number
  /** Requests for repos in flight to all hosts together. */
  maxInFlight: number
  /** And to one host, at most. */
  hostConcurrency?: number | undefined
  limits?: Partial<HostLimits> | undefined
}

/** A turn to ask `origin` for one repo, already counted; or a wait, without end if only a finish or new work can end it. */
export type NextTurn = { origin: string } | { waitMs: number | undefined }

/** What an answer said; `ResponseSeen` of fetch-xrpc.ts is one. */
export interface SeenAnswer {
  origin: string
  kind: 'repo' | 'other'
  status: number
  rateLimit: RateLimit
  requestedAtMs: number
  /** Another host had led there. */
  isRedirected?: boolean
}

export interface OtherPace {
  /** Between two requests. */
  intervalMs: number
  /** What may be sent sooner after a pause. */
  burstMs: number
  /** What the host has said. */
  known: KnownPace
}

export interface Hosts {
  /** Tells how many repos wait for a host; an estimate will do, `true` if only that there are some. */
  setWork(origin: string, waiting: number | boolean): void
  next(): NextTurn
  /** The same for a request of the other kind (listings, statuses), which has its own bucket and takes no slot. */
  nextOther(origin: string): NextTurn
  /** How fast requests of the other kind may be sent, all processes of an address together. */
  paceOfOther(origin: string): OtherPace
  restoreOther(origin: string, known: KnownPace): void
  /** Takes in what an answer says; to be called as soon as its headers are here. */
  seen(answer: SeenAnswer): void
  /** Ends a turn of `next`; exactly once for each. `huge` if `grewHuge` said true. */
  finished(origin: string, result: TurnResult, options?: { huge?: boolean }): void
  /** A download that turned out huge leaves its slot to another. False: the lane is full. */
  grewHuge(origin: string): boolean
  describe(): HostRow[]
  /** Takes up what `describe` said before a restart; `takenOver`: or in another process, which may have asked just now. */
  restore(row: RestoredHost): void
}

export function createHosts(options: HostsOptions): Hosts {
  const scheduler = new Scheduler(options)
  return {
    setWork: (origin, waiting) => scheduler.setWork(origin, waiting),
    next: () => scheduler.next(),
    nextOther: (origin) => scheduler.nextOther(origin),
    paceOfOther: (origin) => scheduler.paceOfOther(origin),
    restoreOther: (origin, known) => scheduler.restoreOther(origin, known),
    seen: (answer) => scheduler.seen(answer),
    finished: (origin, result, { huge = false } = {}) => scheduler.finished(origin, result, huge),
    grewHuge: (origin) => scheduler.grewHuge(origin),
    describe: () => scheduler.describe(),
    restore: (row) => scheduler.restore(row),
  }
}

class Scheduler {
  private readonly now: () => number
  private readonly maxInFlight: number
  private readonly limits: HostLimits
  private readonly hosts = new Map<string, Host>()
  /** May be asked now. */
  private readonly ready = new Heap<Host>(comesFirst)
  /** May be asked later. */
  private readonly later = new Heap<Host>((a, b) => a.readyAtMs < b.readyAtMs)
  private inFlight = 0
  private huge = 0
  private hostsWithWork = 0
  /** Past it idle ones are forgotten. */
  private room: number

  constructor({ now, maxInFlight, hostConcurrency, limits }: HostsOptions) {
    this.now = now
    this.maxInFlight = maxInFlight
    this.limits = { ...defaultHostLimits, ...(hostConcurrency ? { hostConcurrency } : {}), ...limits }
    this.room = this.limits.maxHosts
  }

  setWork(origin: string, waiting: number | boolean): void {
    const host = this.host(origin)
    const before = host.waiting
    // "Some" keeps a better estimate if there is one.
    host.waiting = waiting === true ? Math.max(before, 1) : Number(waiting)
    this.hostsWithWork += Number(host.waiting > 0) - Number(before > 0)
    this.file(host, this.now())
  }

  next(): NextTurn {
    const nowMs = this.now()
    for (let host = this.later.first(); host && host.readyAtMs <= nowMs; host = this.later.first()) {
      this.file(host, nowMs)
    }
    if (this.inFlight >= this.maxInFlight) return { waitMs: undefined }
    const host = this.ready.first()
    if (!host) {
      const first = this.later.first()
      return { waitMs: first && Math.max(first.readyAtMs - nowMs, 0) }
    }
    host.repo.take(nowMs)
    host.inFlight++
    this.inFlight++
    host.waiting = Math.max(host.waiting - 1, 1) // the last one may stand for many: `setWork` says when there is none
    this.file(host, nowMs)
    return { origin: host.origin }
  }

  nextOther(origin: string): NextTurn {
    const nowMs = this.now()
    const host = this.host(origin)
    const readyAtMs = Math.max(host.other.readyAt(nowMs), host.health.coolUntilMs)
    if (readyAtMs > nowMs) return { waitMs: readyAtMs - nowMs }
    host.other.take(nowMs)
    return { origin }
  }

  seen({ origin, kind, status, rateLimit, requestedAtMs, isRedirected }: SeenAnswer): void {
    const host = this.hosts.get(origin)
    if (!host) return
    const nowMs = this.now()
    const bucket = host[kind]
    if (isRedirected) bucket.take(nowMs) // the host has counted it
    bucket.learn(rateLimit, requestedAtMs, nowMs)
    if (status === 429) bucket.refuse(rateLimit, requestedAtMs, nowMs)
    else if (status === 503 && rateLimit.retryAfterMs !== undefined) bucket.pause(rateLimit.retryAfterMs, nowMs)
    this.file(host, nowMs)
  }

  finished(origin: string, result: TurnResult, huge: boolean): void {
    const host = this.host(origin)
    const nowMs = this.now()
    this.inFlight--
    if (huge) {
      this.huge--
      host.huge--
    } else {
      host.inFlight--
    }
    const outcome = turnOutcome(result)
    if (outcome !== 'unused') host.turnover.ended(nowMs)
    if (outcome === 'unused') host.repo.putBack(nowMs)
    else if (outcome === 'answered') host.health.succeeded(host.inFlight)
    else if (outcome === 'failed') host.health.failed(host.inFlight, nowMs)
    this.file(host, nowMs)
  }

  grewHuge(origin: string): boolean {
    const host = this.hosts.get(origin)
    if (!host || this.huge >= Math.min(this.limits.hugeLane, this.maxInFlight / 4)) return false
    this.huge++
    host.huge++
    host.inFlight--
    this.file(host, this.now())
    return true
  }

  describe(): HostRow[] {
    const nowMs = this.now()
    return [...this.hosts.values()].map((host) => describeHost(host, nowMs))
  }

  restore(row: RestoredHost): void {
    const host = this.host(row.origin)
    restoreHost(host, row, this.now())
    this.file(host, this.now())
  }

  paceOfOther(origin: string): OtherPace {
    const { other } = this.host(origin)
    return { ...other.pace, known: other.known(this.now()) }
  }

  restoreOther(origin: string, known: KnownPace): void {
    this.host(origin).other.restore(known)
  }

  /** Puts a host where it belongs now: ready, later, or in neither while it has no work or enough in flight. */
  private file(host: Host, nowMs: number): void {
    host.heap?.remove(host)
    host.heap = undefined
    if (host.waiting === 0 || host.inFlight >= Math.min(host.health.allowed(), host.turnover.allowed(nowMs))) return
    host.readyAtMs = Math.max(host.repo.readyAt(nowMs), host.health.coolUntilMs)
    host.remainingMs = (host.waiting * 1000) / host.repo.requestsPerSecond(nowMs)
    host.short = host.inFlight < Math.max(1, this.maxInFlight / 2 / this.hostsWithWork)
    host.heap = host.readyAtMs <= nowMs ? this.ready : this.later
    host.heap.add(host)
  }

  private host(origin: string): Host {
    const known = this.hosts.get(origin)
    if (known) return known
    if (this.hosts.size >= this.room) this.forgetIdle()
    const host = createHost(origin, this.limits, this.maxInFlight)
    this.hosts.set(origin, host)
    return host
  }

  /**
   * So that there is room for a tenth, the longest known first; what is known of them is learned again when they return. Where few are idle, they are
   * looked through again when there are a tenth more: for each new one, 80,000 hosts with work took 157 s.
   */
  private forgetIdle(): void {
    let left = this.hosts.size - Math.floor(this.limits.maxHosts * 0.9)
    for (const [origin, host] of this.hosts) {
      if (left <= 0) break
      if (host.waiting > 0 || host.inFlight > 0 || host.huge > 0 || host.health.deadSinceMs !== undefined) continue
      this.hosts.delete(origin)
      left--
    }
    this.room = Math.max(this.limits.maxHosts, Math.ceil(this.hosts.size * 1.1))
  }
}

function comesFirst(a: Host, b: Host): boolean {
  if (a.short !== b.short) return a.short
  if (!a.short) return a.remainingMs > b.remainingMs
  return a.inFlight === b.inFlight ? a.readyAtMs < b.readyAtMs : a.inFlight < b.inFlight
}
