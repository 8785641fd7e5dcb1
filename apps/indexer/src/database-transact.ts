// Runs a function in a transaction: a pool and the function in, its result out.
// A deadlock runs it again; a database that went away is waited for. So the function may run several times, and may have committed
// before it runs again: what it writes must be guarded by what it read.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool, PoolClient, QueryConfig, QueryResult, QueryResultRow } from 'pg'
import { databaseTrouble, sqlState } from './database-errors.ts'
import { outage } from './database-outage.ts'
import { IndexerError } from './errors.ts'
import { steadyNow } from './steady-clock.ts'

/** A restart of Postgres with crash recovery takes seconds; a fail-over of a managed one up to a minute or two. */
const databaseWaitMs = 180_000
const conflictRetries = 10

export interface TransactOptions {
  waitMs?: number
  signal?: AbortSignal
}

/** Throws `DatabaseUnavailable`, `DatabaseFull`, `DatabaseRefused`, `DuplicateKey`, or what `run` throws. */
export async function transact<T>(
  pool: Pool,
  run: (client: PoolClient) => Promise<T>,
  options: TransactOptions = {},
): Promise<T> {
  return await insist(() => runOnce(pool, run), options)
}

/** One statement that may run twice, over any connection. */
export async function ask<R extends QueryResultRow>(pool: Pool, query: string | QueryConfig): Promise<QueryResult<R>> {
  return await insist(() => pool.query<R>(query))
}

/** A connection, when the database is there again. */
export async function connect(pool: Pool, options: TransactOptions = {}): Promise<PoolClient> {
  return await insist(() => pool.connect(), options)
}

/** Tries again what met a conflict, and waits for a database that went away. */
export async function insist<T>(
  attempt: () => Promise<T>,
  { waitMs = databaseWaitMs, signal }: TransactOptions = {},
): Promise<T> {
  let conflicts = 0
  let goneSince: number | undefined
  for (;;) {
    signal?.throwIfAborted()
    try {
      const result = await attempt()
      if (goneSince !== undefined) outage.over()
      return result
    } catch (error) {
      const trouble = databaseTrouble(error)
      if (trouble === 'conflict' && conflicts++ < conflictRetries) {
        await sleep(Math.random() * 20 * conflicts)
      } else if (trouble === 'unavailable') {
        goneSince ??= steadyNow()
        const goneMs = steadyNow() - goneSince
        outage.met(howItEnded(error))
        if (goneMs > waitMs || outage.hasLastedEnough) throw unavailable(error)
        await sleep(Math.min(1_000, 20 + goneMs / 4), undefined, signal ? { signal } : {})
      } else {
        throw translate(error)
      }
    }
  }
}

async function runOnce<T>(pool: Pool, run: (client: PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect()
  let broken: unknown
  try {
    await client.query('begin')
    const result = await run(client)
    await client.query('commit')
    return result
  } catch (error) {
    broken = databaseTrouble(error) === 'unavailable' ? error : await rollback(client)
    throw error
  } finally {
    client.release(broken !== undefined)
  }
}

/** Gives what went wrong, so that the connection is not used again. */
async function rollback(client: PoolClient): Promise<unknown> {
  try {
    await client.query('rollback')
    return undefined
  } catch (error) {
    return error
  }
}

/** SQLSTATE, or the socket's error. */
function howItEnded(error: unknown): string {
  return sqlState(error) ?? 'connection lost'
}

function unavailable(cause: unknown): IndexerError {
  const message = `the database has been away for ${Math.round(outage.awayMs / 1000)} s (${howItEnded(cause)}); start again when it is back`
  return new IndexerError('DatabaseUnavailable', message, { cause })
}

/** What ends the run, with its code and the beginning of its message. */
const endings = {
  full: ['DatabaseFull', 'the database has no room'],
  duplicate: ['DuplicateKey', 'the database has this row already'],
  refused: ['DatabaseRefused', 'the database does not permit it'],
} as const

/** Errors that end the run get their code; all others stay what they are. */
export function translate(error: unknown): unknown {
  const trouble = databaseTrouble(error)
  if (!(error instanceof Error) || error instanceof IndexerError) return error
  if (trouble !== 'full' && trouble !== 'duplicate' && trouble !== 'refused') return error
  const [code, what] = endings[trouble]
  return new IndexerError(code, `${what}: ${error.message}`, { cause: error, details: { sqlState: sqlState(error) } })
}
