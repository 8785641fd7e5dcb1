// Decides which host is asked next, so that every host is as busy as it allows and none keeps the others waiting.
// In: hosts with work, what answers say, outcomes, a clock. Out: the host whose turn it is, or how long to wait. Pure: no
// timers, no I/O, and its memory is that of the hosts, however many repos wait. The surprise is the order: half of the slots
// are shared evenly; the other half goes to the hosts with the most work per allowed request, for they will end last.
import { Bucket, type PaceLimits, type Slowed } from './hosts-bucket.ts'
import { Health, type HealthLimits, type HostState } from './hosts-health.ts'
import { Heap } from './hosts-heap.ts'
import { type TurnResult, turnOutcome } from './hosts-outcome.ts'
import type { RateLimit } from './rate-limit.ts'

export const defaultHostLimits = {
  /** What the reference PDS allows for getRepo: 6,000 in 5 minutes. */
  defaultRequests: 6000,
  defaultWindowMs: 300_000,
  /** 90 of 6,000: catches up 4.5 seconds in which all slots were taken, and costs 1.5 % of the rate. */
  burstShare: 0.015,
  /** Requests sent a second apart may arrive together: 0.3 % of the reference PDS's rate. */
  jitterMs: 1000,
  jitterShare: 0.005,
  limitedMs: 30_000,
  recoveryMs: 600_000,
  /** `ratelimit-reset` and `date` have whole seconds. */
  resetMarginMs: 1000,
  /**
   * The pace is what limits a host that is well; this is halved when it is not. As many as are in
   * flight in all: a host that allows 50 a second and takes 5 seconds for each needs 250; `--host-concurrency`.
   */
  hostConcurrency: 256,
  /** Fewer than any limit that makes sense for a window. */
  firstConcurrency: 20,
  /** With one failure in 20, five in a row are met every 3 million requests. */
  coolAfterFailures: 5,
  minimumCoolMs: 5000,
  maximumCoolMs: 3600_000,
  /** A host that was dead for an hour is found alive at most 72 seconds late. */
  coolShare: 0.02,
  struggleShare: 0.3,
  /** Downloads that may sit in the lane for huge repos, where they take no slot of their host. */
  hugeLane: 16,
  /** Hosts remembered. Strangers name hosts: idle ones are forgotten past this. */
  maxHosts: 20_000,
} satisfies PaceLimits & HealthLimits & Record<string, number>

/** The reference PDS allows half as many requests for everything else together as for getRepo. */
const otherShare = 2

export type HostLimits = { readonly [name in keyof typeof defaultHostLimits]: number }

/** For networks of our own (`--allow-private-hosts`): a host that states no limit has none. */
export const unpacedHosts = { defaultRequests: 1e9 } satisfies Partial<HostLimits>

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
}

export interface HostRow {
  origin: string
  state: HostState
  inFlight: number
  huge: number
  waiting: number
  concurrency: number
  requestsPerSecond: number
  limit: number | undefined
  windowMs: number
  remaining: number | undefined
  /** The end of a pause that the host asked for. */
  notBeforeMs: number | undefined
  slowed: Slowed | undefined
  failures: number
  deadSinceMs: number | undefined
  /** False: all that is known of its death was restored. */
  failedHere: boolean
  coolUntilMs: number | undefined
}

export interface RestoredHost
  extends Pick<HostRow, 'origin' | 'limit' | 'windowMs' | 'deadSinceMs' | 'coolUntilMs'>,
    Partial<Pick<HostRow, 'notBeforeMs' | 'slowed'>> {
  takenOver?: boolean
}

interface Host {
  readonly origin: string
  /** Repos that wait for a turn, as far as is known. */
  waiting: number
  inFlight: number
  huge: number
  readonly repo: Bucket
  readonly other: Bucket
  readonly health: Health
  /** For the heaps. */
  place: number
  heap: Heap<Host> | undefined
  readyAtMs: number
  remainingMs: number
  /** It has less than its even share of the slots. */
  short: boolean
}

export interface Hosts {
  /** Tells how many repos wait for a host; an estimate will do, `true` if only that there are some. */
  setWork(origin: string, waiting: number | boolean): void
  next(): NextTurn
  /** The same for a request of the other kind (listings, statuses), which has its own bucket and takes no slot. */
  nextOther(origin: string): NextTurn
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

  constructor({ now, maxInFlight, hostConcurrency, limits }: HostsOptions) {
    this.now = now
    this.maxInFlight = maxInFlight
    this.limits = { ...defaultHostLimits, ...(hostConcurrency ? { hostConcurrency } : {}), ...limits }
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

  seen({ origin, kind, status, rateLimit, requestedAtMs }: SeenAnswer): void {
    const host = this.hosts.get(origin)
    if (!host) return
    const nowMs = this.now()
    const bucket = host[kind]
    bucket.learn(rateLimit, requestedAtMs, nowMs)
    if (status === 429) bucket.refuse(rateLimit, requestedAtMs, nowMs)
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
    return [...this.hosts.values()].map(({ origin, inFlight, huge, waiting, repo, health }) => ({
      origin,
      state: health.state(nowMs),
      inFlight,
      huge,
      waiting,
      concurrency: health.allowed(),
      requestsPerSecond: repo.requestsPerSecond(nowMs),
      limit: repo.limit,
      windowMs: repo.windowMs,
      remaining: repo.remaining,
      notBeforeMs: repo.notBeforeMs > nowMs ? repo.notBeforeMs : undefined,
      slowed: repo.slowed,
      failures: health.failures,
      deadSinceMs: health.deadSinceMs,
      failedHere: health.failedHere,
      coolUntilMs: health.coolUntilMs > nowMs ? health.coolUntilMs : undefined,
    }))
  }

  restore({ origin, limit, windowMs, deadSinceMs, coolUntilMs, takenOver, ...pace }: RestoredHost): void {
    const host = this.host(origin)
    host.repo.restorePause(pace.notBeforeMs ?? 0, pace.slowed)
    host.health.failedHere = false // also where it was ours before, and another process has had answers since
    if (limit !== undefined) host.repo.restore(limit, windowMs)
    if (takenOver) host.repo.takeOver(this.now())
    if (deadSinceMs !== undefined && coolUntilMs !== undefined) host.health.restore(deadSinceMs, coolUntilMs)
    this.file(host, this.now())
  }

  /** Puts a host where it belongs now: ready, later, or in neither while it has no work or enough in flight. */
  private file(host: Host, nowMs: number): void {
    host.heap?.remove(host)
    host.heap = undefined
    if (host.waiting === 0 || host.inFlight >= host.health.allowed()) return
    host.readyAtMs = Math.max(host.repo.readyAt(nowMs), host.health.coolUntilMs)
    host.remainingMs = (host.waiting * 1000) / host.repo.requestsPerSecond(nowMs)
    host.short = host.inFlight < Math.max(1, this.maxInFlight / 2 / this.hostsWithWork)
    host.heap = host.readyAtMs <= nowMs ? this.ready : this.later
    host.heap.add(host)
  }

  private host(origin: string): Host {
    const known = this.hosts.get(origin)
    if (known) return known
    if (this.hosts.size >= this.limits.maxHosts) this.forgetIdle()
    const { limits } = this
    const host: Host = {
      origin,
      waiting: 0,
      inFlight: 0,
      huge: 0,
      repo: new Bucket(limits),
      other: new Bucket({ ...limits, defaultRequests: limits.defaultRequests / otherShare }),
      health: new Health(limits),
      place: -1,
      heap: undefined,
      readyAtMs: 0,
      remainingMs: 0,
      short: true,
    }
    this.hosts.set(origin, host)
    return host
  }

  /** A tenth of the hosts, the longest known first; what is known of them is learned again when they return. */
  private forgetIdle(): void {
    let left = Math.ceil(this.limits.maxHosts / 10)
    for (const [origin, host] of this.hosts) {
      if (host.waiting > 0 || host.inFlight > 0 || host.huge > 0 || host.health.deadSinceMs !== undefined) continue
      this.hosts.delete(origin)
      if (--left === 0) return
    }
  }
}

function comesFirst(a: Host, b: Host): boolean {
  if (a.short !== b.short) return a.short
  if (!a.short) return a.remainingMs > b.remainingMs
  return a.inFlight === b.inFlight ? a.readyAtMs < b.readyAtMs : a.inFlight < b.inFlight
}
