// Everything the crawl remembers about itself, in the database: what was listed, resolved, claimed, and how it ended.
// One process's view: it registers, beats, and holds what it claims until it ends or is taken for dead.
import type { Database } from './database.ts'
import { IndexerError } from './errors.ts'
import { createHostLeases } from './host-leases.ts'
import { aloneElsewhere, dropLease, takeLease } from './leases.ts'
import { describePlace } from './process-place.ts'
import { createClaims, type HostBound } from './state-claims.ts'
import { createDiscovery } from './state-discovery.ts'
import { createHostClaims } from './state-host-claims.ts'
import { createOutcomes } from './state-outcomes.ts'
import { createReaders } from './state-readers.ts'
import { createResolution } from './state-resolution.ts'
import { createSightings } from './state-sightings.ts'
import { createTurns } from './state-turns.ts'
import { createUnlisted } from './state-unlisted.ts'
import { openTenure, type Tenure, type TenureOptions } from './tenure.ts'

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
  tenure: Tenure
  /** Our row in `processes`; a new one when others took us for dead. */
  process(): number
  /** By host. */
  bounds: Map<number, HostBound>
  /** Hosts that are leased to us. */
  leased: Set<number>
}

export type State = Awaited<ReturnType<typeof openState>>

/** Registers this process and gives back what dead ones held. Ends with `end()`, which gives back what this one holds. */
export async function openState(database: Database, options: TenureOptions = {}) {
  const { pool } = database
  const leased = new Set<number>()
  const tenure = await openTenure(database, {
    ...options,
    onLost: () => leased.clear(),
    confirm: async (process) => {
      await refuseWhenAlone(database, process)
      await options.confirm?.(process)
    },
  })
  const context: StateContext = {
    database,
    tenure,
    process: () => tenure.process,
    bounds: new Map(),
    leased,
  }

  // Both look after they have said that they are there, so that of two who start together at least one sees the other.
  try {
    await refuseWhenAlone(database, tenure.process)
  } catch (error) {
    await tenure.end()
    throw error
  }

  return {
    get process() {
      return tenure.process
    },
    get lost() {
      return tenure.lost
    },
    get isSure() {
      return tenure.isSure
    },
    ...createDiscovery(context),
    ...createSightings(context),
    ...createUnlisted(context),
    ...createHostClaims(context),
    ...createResolution(context),
    ...createHostLeases(context),
    ...createTurns(context),
    ...createClaims(context),
    ...createOutcomes(context),
    ...createReaders(context),
    takeLease: (name: string) => takeLease(pool, name, tenure.process),
    dropLease: (name: string) => dropLease(pool, name, tenure.process),
    releaseDeadClaims: () => tenure.releaseDead(),
    end: () => tenure.end(),
  }
}

async function refuseWhenAlone({ pool }: Database, process: number): Promise<void> {
  const alone = await aloneElsewhere(pool, process)
  if (alone === undefined) return
  const message = `reproject is at work on this database (${describePlace(alone)}): wait for its end, or stop it`
  throw new IndexerError('DatabaseBusy', message)
}
