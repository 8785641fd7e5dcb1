// Opens a database: a URL and a schema in, a pool out; and brings its schema up to date, for which alone it loads Kysely.
// Every connection has the schema as its search_path, so no statement names it.
import { randomBytes } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import type { MigrationResult } from 'kysely/migration'
import { Pool, type PoolClient, TypeOverrides } from 'pg'
import { databaseTrouble, sqlState } from './database-errors.ts'
import { outage } from './database-outage.ts'
import { setSession } from './database-session.ts'
import { insist, translate } from './database-transact.ts'
import { IndexerError } from './errors.ts'
import { steadyNow } from './steady-clock.ts'

export interface DatabaseOptions {
  url: string
  /** Holds every object of ours; made by `migrate`. */
  schema?: string
  maxConnections?: number
  /** How long the first connection may take; compose files start the database beside us. */
  waitMs?: number
}

export interface Database {
  readonly url: string
  readonly schema: string
  /** The application_name of its connections, and of no others. */
  readonly session: string
  readonly pool: Pool
  close(): Promise<void>
}

const int8 = 20

/** Connects once before it returns. Throws `DatabaseUnavailable`, and `BadUsage` for another kind of URL, a server that will not do, or a schema that needs quoting. */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const { url, schema = 'atproto', maxConnections = 8, waitMs = 15_000 } = options
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema)) {
    const message = `--schema ${JSON.stringify(schema)}: lower-case letters, digits and _ only, at most 63, not beginning with a digit`
    throw new IndexerError('BadUsage', message, { details: { schema } })
  }
  if (!isDatabaseUrl(url)) throw noUrl()
  const types = new TypeOverrides()
  types.setTypeParser(int8, Number) // ids and counts stay below 2^53; claims, which do not, are selected as text
  const session = `indexer ${randomBytes(8).toString('hex')}`
  const pool = new Pool({
    connectionString: url,
    max: maxConnections,
    idleTimeoutMillis: 60_000,
    connectionTimeoutMillis: 30_000,
    keepAlive: true, // a machine that vanished says nothing more, not even that the connection is over
    keepAliveInitialDelayMillis: 10_000,
    application_name: session,
    types,
    onConnect: (client) => setSession(client, schema),
  })
  pool.on('error', () => {}) // an idle connection broke: the next use opens another
  pool.on('connect', (client) => client.on('error', () => {})) // one in use broke: its query rejects
  try {
    await connectOnce(pool, waitMs)
  } catch (error) {
    await pool.end()
    throw error
  }
  return { url, schema, session, pool, close: () => closePool(pool) }
}

async function closePool(pool: Pool): Promise<void> {
  if (!pool.ending) await pool.end()
}

/** Without the URL: it may hold a password. */
function noUrl(): IndexerError {
  const message =
    '--database (DATABASE_URL) is no URL of a Postgres, such as postgres://me@localhost/atproto (a password needs its special characters percent-encoded)'
  return new IndexerError('BadUsage', message)
}

/** What pg does not understand it takes for the name of a database on localhost. A socket's folder has no host that URL knows. */
function isDatabaseUrl(text: string): boolean {
  return /^postgres(ql)?:\/\/[^/]*\/?/.test(text) || text.startsWith('socket:') || text.startsWith('/')
}

async function connectOnce(pool: Pool, waitMs: number): Promise<void> {
  const deadline = steadyNow() + waitMs
  for (;;) {
    try {
      const { rows } = await pool.query<Server>(selectServer)
      outage.over()
      const [server] = rows
      if (server !== undefined) checkServer(server)
      return
    } catch (cause) {
      if (databaseTrouble(cause) !== 'unavailable' || steadyNow() >= deadline || outage.isEnding)
        throw noConnection(cause)
      outage.met(sqlState(cause) ?? 'no connection')
      await sleep(200)
    }
  }
}

interface Server {
  encoding: string
  version: string
  versionNumber: number
}

const selectServer = `
  select current_setting('server_encoding') as encoding, current_setting('server_version') as version,
    current_setting('server_version_num')::int as "versionNumber"`

/** What ends the connections of a dead process (pg_terminate_backend that waits) came with it. */
const oldestVersion = 14

/** In any other encoding, records whose text it lacks would be refused one by one. Throws `BadUsage`. */
export function checkServer({ encoding, version, versionNumber }: Server): void {
  if (versionNumber < oldestVersion * 10_000) {
    const message = `the server is PostgreSQL ${version}: the indexer needs ${oldestVersion} or newer`
    throw new IndexerError('BadUsage', message, { details: { version } })
  }
  if (encoding === 'UTF8') return
  const message = `the database has the encoding ${encoding}: make one with \`create database NAME encoding 'UTF8' template template0\``
  throw new IndexerError('BadUsage', message, { details: { encoding } })
}

function noConnection(cause: unknown): unknown {
  if (sqlState(cause) === 'ERR_INVALID_URL') return noUrl()
  const reason = cause instanceof Error ? cause.message : String(cause)
  if (/client password must be/.test(reason)) {
    const message = 'the server wants a password: put one into the URL, PGPASSWORD or ~/.pgpass'
    return new IndexerError('DatabaseRefused', message, { cause }) // pg gives no code
  }
  const known = translate(cause)
  if (known instanceof IndexerError) return known
  return new IndexerError('DatabaseUnavailable', `cannot connect to the database: ${reason || sqlState(cause)}`, {
    cause,
  })
}

const migrationsFolder = join(import.meta.dirname, '..', '..', '..', 'migrations')
const undefinedTable = '42P01'
const migrationLock = 7_346_112 // any number: processes that start together take turns

/** Runs each `NNNN_name.sql` once, in order, all of them in one transaction. Returns the names of those it ran. */
export async function migrate(database: Database): Promise<string[]> {
  return await insist(() => migrateOnce(database))
}

async function migrateOnce(database: Database): Promise<string[]> {
  const { pool } = database
  if (await isMigrated(database)) return []
  const client = await pool.connect()
  try {
    await client.query('select pg_advisory_lock($1)', [migrationLock])
    return await runMigrations(client, database)
  } finally {
    await client.query('select pg_advisory_unlock($1)', [migrationLock]).catch(() => {})
    client.release()
  }
}

/** Has it exactly the migrations that are there? Kysely is not asked: a fifth of the processor time of a start was loading it. */
async function isMigrated({ pool }: Database): Promise<boolean> {
  const files = await migrationFiles()
  try {
    const { rows } = await pool.query<{ name: string }>('select name from kysely_migration order by name collate "C"')
    return rows.length === files.length && rows.every(({ name }, index) => `${name}.sql` === files[index])
  } catch (error) {
    if (sqlState(error) === undefinedTable) return false
    throw error
  }
}

async function runMigrations(client: PoolClient, { pool, schema }: Database): Promise<string[]> {
  const [{ Kysely, PostgresDialect, sql }, { Migrator }] = await Promise.all([
    import('kysely'),
    import('kysely/migration'),
  ])
  const { rowCount } = await client.query('select 1 from pg_namespace where nspname = $1', [schema])
  if (rowCount === 0) await client.query(`create schema ${schema}`)
  const migrations = await readMigrations((text, db) => sql.raw(text).execute(db))
  await refuseNewer(client, schema, migrations)
  const db = new Kysely({ dialect: new PostgresDialect({ pool }) }) // never destroyed: that would end the pool
  const migrator = new Migrator({
    db,
    provider: { getMigrations: async () => migrations },
    migrationTableSchema: schema,
  })
  const { error, results = [] } = await migrator.migrateToLatest()
  if (error !== undefined) throw migrationError(error, results)
  return results.map((result) => result.migrationName)
}

async function refuseNewer(client: PoolClient, schema: string, known: object): Promise<void> {
  const table = `${schema}.kysely_migration`
  const { rowCount } = await client.query('select 1 where to_regclass($1) is not null', [table])
  if (rowCount === 0) return
  const { rows } = await client.query<{ name: string }>(`select name from ${table} order by name`)
  const newer = rows.flatMap(({ name }) => (name in known ? [] : name))
  if (newer.length === 0) return
  const message = `the database was migrated by a newer version of the indexer (${newer.join(', ')}): use that one, or another --schema`
  throw new IndexerError('MigrationFailed', message, { details: { newer } })
}

function migrationError(error: unknown, results: readonly MigrationResult[]): unknown {
  if (databaseTrouble(error) === 'unavailable') return error
  const name = results.find((result) => result.status === 'Error')?.migrationName
  const reason = error instanceof Error ? error.message : String(error)
  const message = `migration ${name ?? 'check'} failed and was rolled back: ${reason}`
  return new IndexerError('MigrationFailed', message, { cause: error })
}

async function migrationFiles(): Promise<string[]> {
  return (await readdir(migrationsFolder)).filter((file) => /^\d{4}_\w+\.sql$/.test(file)).sort()
}

async function readMigrations(execute: (text: string, db: Kysely<unknown>) => Promise<unknown>) {
  const entries = (await migrationFiles()).map(async (file) => {
    const text = await readFile(join(migrationsFolder, file), 'utf8')
    const up = async (db: Kysely<unknown>) => void (await execute(text, db))
    return [file.replace(/\.sql$/, ''), { up }] as const
  })
  return Object.fromEntries(await Promise.all(entries))
}
