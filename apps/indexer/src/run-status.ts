// What a run shows of itself: the progress line (or a log event) at intervals, and the summary at the end.
// Reads the database's counters and the run's metrics; decides nothing.
import type { CrawlProgress } from './crawl.ts'
import type { Log } from './log.ts'
import type { MemoryBudget } from './memory-budget.ts'
import { createRateMeter, renderProgress, type Status, type Summary } from './progress.ts'
import type { ProgressLine } from './progress-line.ts'
import type { RunMetrics } from './run-metrics.ts'
import type { State } from './state.ts'

const logIntervalMs = 10_000

export interface RunParts {
  state: State
  metrics: RunMetrics
  budget: MemoryBudget
  progress: CrawlProgress
}

/** Shows the run until it is disposed of; a database that is away for a moment only makes the line wait. */
export function showProgress(
  parts: RunParts,
  { log, line }: { log: Log; line: ProgressLine | undefined },
): AsyncDisposable {
  const meter = createRateMeter()
  let showing: Promise<void> | undefined
  const show = async (): Promise<void> => {
    parts.metrics.sampleMemory()
    const status = await readStatus(parts)
    const rates = meter(status)
    if (line) line.draw(renderProgress(status, rates))
    else log.info({ ...status, errors: Object.fromEntries(status.errors), ...rates }, 'progress')
  }
  const tick = (): void => {
    showing ??= show()
      .catch((err: unknown) => log.debug({ err }, 'no progress to show'))
      .finally(() => {
        showing = undefined
      })
  }
  const timer = setInterval(tick, line?.intervalMs ?? logIntervalMs)
  return {
    [Symbol.asyncDispose]: async () => {
      clearInterval(timer)
      await showing
      line?.end()
    },
  }
}

export async function summarize(parts: RunParts, interrupted: boolean): Promise<Summary> {
  parts.metrics.sampleMemory()
  const [status, tables, rejects] = await Promise.all([
    readStatus(parts),
    parts.state.rowsByTable(),
    parts.state.rejectsByCode(),
  ])
  return {
    ...status,
    tables: tables
      .entries()
      .map(([name, rows]) => ({ name, rows }))
      .toArray(),
    rejects: rejects
      .entries()
      .map(([code, records]) => ({ code, records }))
      .toArray(),
    unlisted: parts.progress.unlisted.map(({ source, error }) => ({ source, code: (error as { code: string }).code })),
    peakHeldBytes: parts.budget.peakBytes,
    peakRssBytes: parts.metrics.peakRssBytes,
    interrupted,
  }
}

async function readStatus({ state, metrics, budget, progress }: RunParts): Promise<Status> {
  return {
    balance: await state.readBalance(),
    discovering: !progress.discovered,
    sources: progress.sources,
    rows: metrics.rows,
    rejected: metrics.rejected,
    repos: metrics.repos,
    fetchedBytes: metrics.fetchedBytes,
    errors: metrics.errors,
    elapsedMs: metrics.elapsedMs,
    heldBytes: budget.heldBytes,
    threads: metrics.threads,
  }
}
