// A database that is away, as all waits of this process see it: told to the log when it begins, now and then while it lasts, and when it
// is over. The surprise: one object for the process. Whoever waits may be any of a hundred, and a signal means all of them.
import type { Log } from './log.ts'

/** When the process is to end, all its waits together last no longer. */
const endingWaitMs = 10_000
const tellEveryMs = 30_000

class DatabaseOutage {
  #log: Pick<Log, 'warn' | 'info'> | undefined
  #sinceMs: number | undefined
  #toldAtMs = 0
  #endingSinceMs: number | undefined

  tellTo(log: Pick<Log, 'warn' | 'info'>): void {
    this.#log = log
  }

  /** The process is to end: what waits, now and from here on, gives up soon. */
  shorten(): void {
    this.#endingSinceMs ??= performance.now()
  }

  /** Nobody waits any more for a database that was never there. */
  get isEnding(): boolean {
    return this.#endingSinceMs !== undefined
  }

  get hasLastedEnough(): boolean {
    return this.#endingSinceMs !== undefined && performance.now() - this.#endingSinceMs > endingWaitMs
  }

  get awayMs(): number {
    return this.#sinceMs === undefined ? 0 : Math.round(performance.now() - this.#sinceMs)
  }

  /** A try has met no database; `reason` says how. */
  met(reason: string): void {
    const nowMs = performance.now()
    if (this.#sinceMs !== undefined && nowMs - this.#toldAtMs < tellEveryMs) return
    this.#sinceMs ??= nowMs
    this.#toldAtMs = nowMs
    this.#log?.warn({ reason, awayMs: this.awayMs }, 'the database is away: waiting for it')
  }

  /** A try that met none has met it now. */
  over(): void {
    if (this.#sinceMs === undefined) return
    this.#log?.info({ awayMs: this.awayMs }, 'the database is back')
    this.#sinceMs = undefined
  }
}

export const outage = new DatabaseOutage()
