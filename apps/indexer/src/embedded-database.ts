// Runs the indexer's own PostgreSQL: a data directory in, the URL of a live server out.
// The server has its own session and outlives us: after a kill -9 the next start adopts it, and Ctrl-C does not reach it before
// our drain. Processes on one data directory share the server; the last to leave stops it.
import { chmodSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { insist } from './database-transact.ts'
import { findLauncher } from './embedded-database-launcher.ts'
import { lockDirectory } from './embedded-database-lock.ts'
import { type Server, startServer, stopServer, urlOf } from './embedded-database-server.ts'

export interface DatabaseLog {
  debug(values: object, message: string): void
  warn(values: object, message: string): void
}

export interface EmbeddedDatabaseOptions {
  dataDir: string
  log: DatabaseLog
  /** Other than ours, for a server that is started, not adopted. Tests give up durability. */
  settings?: Record<string, string>
}

export interface EmbeddedDatabase {
  /** For pg, psql and everything that takes a libpq URL; through a Unix socket, as a role that is no superuser. */
  readonly url: string
  /** Pid of the server, for tests that kill it. */
  pid(): number
  /** Leaves the server, and stops it when nobody else uses it. To be called after every connection was closed. */
  stop(): Promise<void>
}

const presence = 'indexer presence' // application_name of the connection that says: somebody uses this server

/**
 * Starts or adopts the PostgreSQL of `dataDir` and keeps it alive: a server that dies is started again under the same URL.
 * Throws `EmbeddedDatabaseMissing` (no binaries for this machine) and `EmbeddedDatabaseFailed` (the message quotes its log).
 */
export async function openEmbeddedDatabase(options: EmbeddedDatabaseOptions): Promise<EmbeddedDatabase> {
  const { log, settings = {} } = options
  const home = join(options.dataDir, 'postgres')
  if (mkdirSync(home, { recursive: true }) !== undefined) chmodSync(home, 0o755)
  const launcher = findLauncher(home)

  let stopping = false
  let held: Held
  let revival: Promise<void> | undefined

  const hold = async (): Promise<Held> => {
    await using _lock = await lockDirectory(home)
    const server = await startServer(home, { launcher, log, settings })
    const client = new Client({ connectionString: urlOf(server), application_name: presence })
    await client.connect()
    client.on('error', () => {}) // the end follows, and is answered there
    client.once('end', () => {
      if (!stopping) revival = revive()
    })
    return { server, client }
  }
  const revive = async () => {
    log.warn({ pid: held.server.pid }, 'the embedded database went away; starting it again')
    while (!stopping) {
      try {
        held = await hold()
        return
      } catch (error) {
        log.warn({ err: error }, 'the embedded database does not start; trying again')
        await sleep(1_000)
      }
    }
  }

  held = await insist(hold) // it may be killed while it starts
  return {
    url: urlOf(held.server),
    pid: () => held.server.pid,
    stop: async () => {
      if (stopping) return
      stopping = true
      await revival
      await leave(home, held)
    },
  }
}

interface Held {
  server: Server
  client: Client
}

/** Counting and stopping happen under the lock that starters take: nobody can adopt a server that is about to stop. */
async function leave(home: string, { server, client }: Held): Promise<void> {
  await using _lock = await lockDirectory(home)
  let others = 0
  try {
    const text = `select count(*)::int as others from pg_stat_activity where application_name = $1 and pid <> pg_backend_pid()`
    others = (await client.query<{ others: number }>(text, [presence])).rows[0]?.others ?? 0
    await client.end()
  } catch {
    // The server is already gone: stopping it is then the same as doing nothing.
  }
  if (others === 0) await stopServer(server)
}
