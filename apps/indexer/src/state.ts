// Everything the crawl remembers about itself, in the database: what was listed, resolved, claimed, and how it ended.
// One process's view: it registers, beats, and holds what it claims until it ends or is taken for dead.
import type { Database } from './database.ts'
import { IndexerError } from './errors.ts'
import {
  aloneElsewhere,
  beat,
  deadAfterMs,
  dropLease,
  insertProcess,
  releaseDead,
  removeProcess,
  takeLease,
} from './leases.ts'
import { createClaims, type HostBound } from './state-claims.ts'
import { createDiscovery } from './state-discovery.ts'
import { createOutcomes } from './state-outcomes.ts'
import { createReaders } from './state-readers.ts'
import { createResolution } from './state-resolution.ts'
import { step } from './steps.ts'

/** A repo that this process may fetch and write, until its claim is settled or taken away. */
export interface ClaimedRepo {
  id: number
  did: string
  /** Token of the fence: a bigint as text. */
  claim: string
  /** Of the rows that are stored; null: it has none. */
  rev: string | null
  hostId: number
  /** 'https://pds.example.com' */
  host: string
  /** null: the listing named the host and nobody has asked for the key. */
  signingKey: string | null
  handle: string | null
  attempts: number
}

export interface StateContext {
  database: Database
  /** Our row in `processes`; a new one when others took us for dead. */
  process(): number
  /** By host. */
  bounds: Map<number, HostBound>
}

export interface StateOptions {
  /** Processes behind one address share its limits. */
  egress?: string
  log?: { warn(values: object, message: string): void; info(values: object, message: string): void }
}

const beatMs = deadAfterMs / 6

export type State = Awaited<ReturnType<typeof openState>>

/** Registers this process and gives back what dead ones held. Ends with `end()`, which gives back what this one holds. */
export async function openState(database: Database, { egress = '', log }: StateOptions = {}) {
  const { pool } = database
  let process = await insertProcess(pool, egress)
  const context: StateContext = { database, process: () => process, bounds: new Map() }
  const released = await releaseDead(pool, process)
  if (released > 0) log?.info({ repos: released }, 'released what a dead process held')

  // Both look after they have said that they are there, so that of two who start together at least one sees the other.
  const alone = await aloneElsewhere(pool, process)
  if (alone !== undefined) {
    await removeProcess(pool, process)
    throw new IndexerError(
      'DatabaseBusy',
      `reproject is at work on this database (${alone}): wait for its end, or stop it`,
    )
  }

  const beating = repeat(beatMs, async () => {
    if (!(await beat(pool, process))) {
      process = await insertProcess(pool, egress)
      log?.warn({ process }, 'taken for dead: what was claimed before belongs to others now')
    }
    await releaseDead(pool, process)
  })

  return {
    get process() {
      return process
    },
    ...createDiscovery(context),
    ...createResolution(context),
    ...createClaims(context),
    ...createOutcomes(context),
    ...createReaders(context),
    takeLease: (name: string) => takeLease(pool, name, process),
    dropLease: (name: string) => dropLease(pool, name, process),
    releaseDeadClaims: () => releaseDead(pool, process),
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
