// How soon a host gives its slots back. In: the ends of its turns. Out: how many slots it may have. A host that trickles, or answers
// nothing, gives none back: it would have all of them within seconds and keep them for an hour, while the others wait.

export interface TurnoverLimits {
  /** Part of all slots that a host may have however long it keeps them. */
  readonly slowShare: number
  /** It may have more if it keeps them for less than this on average. */
  readonly slowMs: number
}

export class Turnover {
  private readonly share: number
  private readonly slowMs: number
  /** Turns that ended in about the last `slowMs`: each fades with its age. */
  private ends = 0
  private atMs = 0

  constructor({ slowShare, slowMs }: TurnoverLimits, slots: number) {
    this.share = Math.max(1, Math.floor(slots * slowShare))
    this.slowMs = slowMs
  }

  ended(nowMs: number): void {
    this.ends = this.recent(nowMs) + 1
    this.atMs = nowMs
  }

  /** By Little's law: slots that are kept for `slowMs` on average are as many as turns end in that time. */
  allowed(nowMs: number): number {
    return Math.max(this.share, this.recent(nowMs))
  }

  private recent(nowMs: number): number {
    return this.ends * Math.exp((this.atMs - nowMs) / this.slowMs)
  }
}
