// Runs the indexer's own PostgreSQL: a data directory in, the URL of a live server out.
// The server has its own session and outlives us: after a kill -9 the next start adopts it, and Ctrl-C does not reach it before
// our drain. Processes on one data directory share the server; the last to leave stops it.
import { chmodSync, existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { makeFolder } from 'repo-stream'
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
  if (makeFolder(home)) chmodSync(home, 0o755)
  const launcher = findLauncher(home)

  let stopping = false
  let revival: Promise<void> | undefined

  const hold = async (urlInUse: boolean): Promise<Held> => {
    await using _lock = await lockDirectory(home)
    const server = await startServer(home, { launcher, log, settings, urlInUse })
    const client = new Client({ connectionString: urlOf(server), application_name: presence })
    client.on('error', () => {}) // the end follows, and is answered there
    await client.connect()
    client.once('end', () => {
      if (!stopping) revival = revive(server.pid)
    })
    return { server, client }
  }
  const revive = async (pid: number) => {
    log.warn({ pid }, 'the embedded database went away; starting it again')
    while (!stopping) {
      try {
        held = await hold(true)
        return
      } catch (error) {
        log.warn({ err: error }, 'the embedded database does not start; trying again')
        await sleep(1_000)
      }
    }
  }

  let held = await insist(() => hold(false)) // it may be killed while it starts
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

/** False too while the first start is not that far. */
export function hasEmbeddedDatabase(dataDir: string): boolean {
  return existsSync(join(dataDir, 'postgres', 'data'))
}

interface Held {
  server: Server
  client: Client
}

/** Counting and stopping happen under the lock that starters take: nobody can adopt a server that is about to stop. */
async function leave(home: string, { server, client }: Held): Promise<void> {
  await using _lock = await lockDirectory(home)
  await client.end().catch(() => {})
  if (!(await isUsed(server))) await stopServer(server)
}

/** Over a connection of its own: ours may have broken with a server that another process started again. */
async function isUsed(server: Server): Promise<boolean> {
  const client = new Client({ connectionString: urlOf(server) })
  client.on('error', () => {})
  try {
    await client.connect()
    const { rowCount } = await client.query('select 1 from pg_stat_activity where application_name = $1', [presence])
    return rowCount !== null && rowCount > 0
  } catch {
    return false // it is gone already, and stopping it is doing nothing
  } finally {
    await client.end().catch(() => {})
  }
}
