// The local copy of the PLC directory beside a run: followed in the background by the one process that holds its lease,
// read by all. In: a database and a directory. Out: look-ups for the resolver. Its failure ends no run: what the copy does
// not know, the directory itself is asked.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from './database.ts'
import type { Http } from './http.ts'
import { type Identities, openIdentities } from './identities.ts'
import { type LeaseHolder, withLease } from './leases.ts'
import type { Log } from './log.ts'
import { followPlcExport } from './plc-export.ts'

export interface LocalDirectoryOptions {
  database: Database
  state: LeaseHolder
  http: Http
  plcUrl: string
  log: Log
}

export interface LocalDirectory extends AsyncDisposable {
  lookUp: Identities['lookUp']
}

const lease = 'plc-export'
/** After a failure that is not waited out itself. */
const againAfterMs = 30_000
/** A long fill is told of now and then. */
const tellEveryMs = 60_000

export function openLocalDirectory(options: LocalDirectoryOptions): LocalDirectory {
  const { database, state, log } = options
  const identities = openIdentities(database)
  const stop = new AbortController()
  const { signal } = stop
  const follow = async () => {
    while (!signal.aborted) {
      await withLease(state, { name: lease, signal }, async (signal) => {
        await followPlcExport({ ...options, identities, signal, onPage: teller(log) }).catch((err: unknown) => {
          if (!signal.aborted) log.error({ err }, 'the local copy of the PLC directory is not followed for a while')
        })
      }).catch((error: unknown) => {
        if (!signal.aborted) throw error
      })
      await sleep(againAfterMs, undefined, { signal }).catch(() => undefined)
    }
  }
  const following = follow().catch((err: unknown) => log.error({ err }, 'the PLC directory is no longer followed'))
  return {
    lookUp: identities.lookUp,
    async [Symbol.asyncDispose]() {
      stop.abort()
      await following
    },
  }
}

function teller(log: Log): (page: { operations: number; caughtUp: boolean }) => void {
  let operations = 0
  let toldAtMs = Date.now()
  let wasCaughtUp = false
  return (page) => {
    operations += page.operations
    const first = page.caughtUp && !wasCaughtUp
    wasCaughtUp = page.caughtUp
    if (!first && (page.caughtUp || Date.now() - toldAtMs < tellEveryMs)) return
    log.info({ operations, caughtUp: page.caughtUp }, 'identities taken from the PLC directory')
    operations = 0
    toldAtMs = Date.now()
  }
}
