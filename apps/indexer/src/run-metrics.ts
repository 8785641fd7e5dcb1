// What this run has done, counted as it happens; the progress line, the log and the summary all read it here.
import type { WriteOutcome } from './write.ts'

export class RunMetrics {
  readonly startedMs = performance.now()
  /** Rows, rejected records and repos of transactions that have committed. */
  rows = 0
  rejected = 0
  repos = 0
  /** Decoded bytes of repos. */
  fetchedBytes = 0
  /** That index. */
  threads = 1
  /** Failed tries by code. */
  readonly errors = new Map<string, number>()
  /** Largest resident set that was seen. */
  peakRssBytes = 0

  written(outcome: WriteOutcome, rows: number, rejected: number): void {
    if (outcome === 'fenced') return
    this.repos++
    this.rows += rows
    this.rejected += rejected
  }

  failed(code: string): void {
    this.errors.set(code, (this.errors.get(code) ?? 0) + 1)
  }

  get elapsedMs(): number {
    return Math.round(performance.now() - this.startedMs)
  }

  sampleMemory(): void {
    this.peakRssBytes = Math.max(this.peakRssBytes, process.memoryUsage.rss())
  }
}
