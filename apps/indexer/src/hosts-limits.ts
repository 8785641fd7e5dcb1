// How hosts are asked before they have said anything, and what stays under their limits once they have: the numbers of the scheduler, each
// with its reason.
import type { PaceLimits } from './hosts-bucket.ts'
import type { HealthLimits } from './hosts-health.ts'
import type { TurnoverLimits } from './hosts-turnover.ts'

export const defaultHostLimits = {
  /** What the reference PDS allows for getRepo: 6,000 in 5 minutes. */
  defaultRequests: 6000,
  defaultWindowMs: 300_000,
  /** 72 of 6,000: catches up 3.6 seconds in which all slots were taken, and costs 1.2 % of the rate. */
  burstShare: 0.012,
  /**
   * Requests sent two seconds apart may arrive together: 0.7 % of the reference PDS's rate. A burst of 1.5 % and half of the jitter left
   * hosts idle for as long (`bench:hosts`), and over real HTTP more requests fell into full windows.
   */
  jitterMs: 2000,
  jitterShare: 0.0075,
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
  /** Four hosts that trickle have all slots, one alone not. */
  slowShare: 0.25,
  /** Six times what the slowest hosts need for most repos; longer downloads are huge ones, which have a lane of their own. */
  slowMs: 30_000,
  /** Downloads that may sit in the lane for huge repos, where they take no slot of their host. */
  hugeLane: 16,
  /** Hosts remembered. Strangers name hosts: idle ones are forgotten past this. */
  maxHosts: 20_000,
} satisfies PaceLimits & HealthLimits & TurnoverLimits & Record<string, number>

/** The reference PDS allows half as many requests for everything else together as for getRepo. */
export const otherShare = 2

export type HostLimits = { readonly [name in keyof typeof defaultHostLimits]: number }

/** For networks of our own (`--allow-private-hosts`): a host that states no limit has none. */
export const unpacedHosts = { defaultRequests: 1e9 } satisfies Partial<HostLimits>
