// One process among others, from its registration to its end: it beats, gives back what dead ones held, and notices when it was
// taken for dead itself; then it begins anew under another number, if the database is still what it works for. The surprise is
// `isSure`: a process that was stopped and goes on must not ask hosts that may be another's by now, so it asks nothing until a beat has
// told.
import type { Database } from './database.ts'
import { beat, defaultDeadAfterMs, insertProcess, releaseDead, removeProcess } from './processes.ts'
import { step } from './steps.ts'

export interface TenureOptions {
  /** Processes behind one address share its limits. */
  egress?: string
  /** Without a beat for so long, everything that it held is given to others. */
  deadAfterMs?: number
  log?: { warn(values: object, message: string): void; info(values: object, message: string): void } | undefined
  /** Called when others took this process for dead, before `lost` aborts. */
  onLost?: () => void
  /** Whether a process that was taken for dead may begin anew, under this number: throws when it may not. */
  confirm?: (process: number) => Promise<void>
  /** It may not: it is registered no more. */
  onRefused?: (error: unknown) => void
}

export interface Tenure {
  /** Our row in `processes`; a new one when others took us for dead. */
  readonly process: number
  readonly egress: string
  /** Aborts when others took this process for dead: claims, hosts and leases are theirs. */
  readonly lost: AbortSignal
  /** False while the last beat is so old that others may have taken this process for dead. */
  readonly isSure: boolean
  releaseDead(): Promise<number>
  end(): Promise<void>
}

export async function openTenure(database: Database, options: TenureOptions): Promise<Tenure> {
  const { egress = '', deadAfterMs = defaultDeadAfterMs, log } = options
  const { pool } = database
  let beatAtMs = performance.now()
  let process = await insertProcess(database, { egress, deadAfterMs })
  let lost = new AbortController()
  const sweep = async () => {
    const released = await releaseDead(database, process)
    if (released > 0) log?.info({ repos: released }, 'released what a dead process held')
    return released
  }
  await sweep()

  let refused = false
  const beginAnew = async (): Promise<number> => {
    const next = await insertProcess(database, { egress, deadAfterMs })
    try {
      await options.confirm?.(next)
      return next
    } catch (error) {
      refused = true
      options.onRefused?.(error)
      await removeProcess(pool, next)
      throw error
    }
  }

  const beating = repeat(deadAfterMs / 6, async () => {
    if (refused) return
    const sentAtMs = performance.now()
    if (!(await beat(pool, process))) {
      process = await beginAnew()
      options.onLost?.()
      lost.abort(new Error('this process was taken for dead'))
      lost = new AbortController()
      log?.warn({ process }, 'taken for dead: what was claimed before belongs to others now')
    }
    beatAtMs = sentAtMs
    await sweep()
  })

  return {
    get process() {
      return process
    },
    egress,
    get lost() {
      return lost.signal
    },
    get isSure() {
      return performance.now() - beatAtMs < (deadAfterMs * 5) / 6
    },
    releaseDead: sweep,
    async end() {
      await beating.stop()
      step('before-release')
      await removeProcess(pool, process)
    },
  }
}

/** Runs `task` again and again; its failures wait for the next turn: a database that is away is met by everybody else too. */
function repeat(everyMs: number, task: () => Promise<void>) {
  let running: Promise<void> | undefined
  const timer = setInterval(() => {
    running ??= task()
      .catch(() => {})
      .finally(() => {
        running = undefined
      })
  }, everyMs)
  timer.unref()
  return {
    async stop() {
      clearInterval(timer)
      await running
    },
  }
}
