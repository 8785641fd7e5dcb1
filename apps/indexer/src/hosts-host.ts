// What the scheduler knows of one host: its two buckets, its health, what is under way. As a row for people and for the table `hosts`
// out, and back in after a restart or from another process.
import { Bucket, type KnownPace } from './hosts-bucket.ts'
import { Health, type HostState } from './hosts-health.ts'
import type { Heap } from './hosts-heap.ts'
import { type HostLimits, otherShare } from './hosts-limits.ts'
import { Turnover } from './hosts-turnover.ts'

export interface HostRow extends KnownPace {
  origin: string
  state: HostState
  inFlight: number
  huge: number
  waiting: number
  concurrency: number
  requestsPerSecond: number
  remaining: number | undefined
  failures: number
  deadSinceMs: number | undefined
  /** False: all that is known of its death was restored. */
  failedHere: boolean
  coolUntilMs: number | undefined
}

export interface RestoredHost extends KnownPace, Pick<HostRow, 'origin' | 'deadSinceMs' | 'coolUntilMs'> {
  /** From another process, which may have asked just now. */
  takenOver?: boolean
}

export interface Host {
  readonly origin: string
  /** Repos that wait for a turn, as far as is known. */
  waiting: number
  inFlight: number
  huge: number
  readonly repo: Bucket
  readonly other: Bucket
  readonly health: Health
  readonly turnover: Turnover
  /** For the heaps. */
  place: number
  heap: Heap<Host> | undefined
  readyAtMs: number
  remainingMs: number
  /** It has less than its even share of the slots. */
  short: boolean
}

export function createHost(origin: string, limits: HostLimits, slots: number): Host {
  return {
    origin,
    waiting: 0,
    inFlight: 0,
    huge: 0,
    repo: new Bucket(limits),
    other: new Bucket({ ...limits, defaultRequests: limits.defaultRequests / otherShare }),
    health: new Health(limits),
    turnover: new Turnover(limits, slots),
    place: -1,
    heap: undefined,
    readyAtMs: 0,
    remainingMs: 0,
    short: true,
  }
}

export function describeHost({ origin, inFlight, huge, waiting, repo, health }: Host, nowMs: number): HostRow {
  return {
    origin,
    state: health.state(nowMs),
    inFlight,
    huge,
    waiting,
    concurrency: health.allowed(),
    requestsPerSecond: repo.requestsPerSecond(nowMs),
    remaining: repo.remaining,
    ...repo.known(nowMs),
    failures: health.failures,
    deadSinceMs: health.deadSinceMs,
    failedHere: health.failedHere,
    coolUntilMs: health.coolUntilMs > nowMs ? health.coolUntilMs : undefined,
  }
}

export function restoreHost({ repo, health }: Host, row: RestoredHost, nowMs: number): void {
  const { deadSinceMs, coolUntilMs, takenOver, ...pace } = row
  repo.restore(pace)
  if (takenOver) repo.takeOver(nowMs)
  health.failedHere = false // also where it was ours before, and another process has had answers since
  if (deadSinceMs !== undefined && coolUntilMs !== undefined) health.restore(deadSinceMs, coolUntilMs)
}
