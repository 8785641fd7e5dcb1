// A fresh, migrated database for a test, dropped at its end. All tests of a machine share one embedded server, which gives up
// durability for speed; migrated databases are copied from a template that is made once for each state of migrations/.
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { type Database, migrate, openDatabase } from './database.ts'
import { sqlState } from './database-errors.ts'
import { openEmbeddedDatabase } from './embedded-database.ts'

export type TestDatabase = Database & AsyncDisposable

export interface TestDatabaseOptions {
  migrated?: boolean
  maxConnections?: number
}

const log = { debug: () => {}, warn: () => {} }
const settings = { fsync: 'off', full_page_writes: 'off', synchronous_commit: 'off', shared_buffers: '128MB' }
const templateLock = 7_346_114 // any number: one test makes the template, the others wait

export async function openTestDatabase(options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const { migrated = true, maxConnections = 8 } = options
  const server = await openServer()
  const name = `test_${process.pid}_${randomBytes(4).toString('hex')}`
  await administer(server.url, async (client) => {
    await dropLeftovers(client)
    const template = migrated ? await makeTemplate(client, server.url) : 'template1'
    await client.query(`create database ${name} template ${template}`)
  })
  const database = await openDatabase({ url: urlOf(server.url, name), maxConnections })
  const close = async () => {
    await database.close()
    await administer(server.url, (client) => dropDatabase(client, name))
    await server.stop()
  }
  return { ...database, close, [Symbol.asyncDispose]: close }
}

/** Of another version: TEST_DATABASE=postgres://ROLE@HOST/indexer, whose role may create databases. */
async function openServer(): Promise<{ url: string; stop(): Promise<void> }> {
  const url = process.env.TEST_DATABASE
  if (url) return { url, stop: async () => {} }
  const dataDir = join(tmpdir(), `indexer-test-database-18-${process.getuid?.() ?? 0}`)
  return await openEmbeddedDatabase({ dataDir, log, settings })
}

/** The template of these migrations; those of others go. */
async function makeTemplate(client: Client, url: string): Promise<string> {
  const folder = join(import.meta.dirname, '../../../migrations')
  const hash = createHash('sha256')
  for (const file of readdirSync(folder).sort()) hash.update(file).update(readFileSync(join(folder, file)))
  const name = `template_${hash.digest('hex').slice(0, 16)}`
  await client.query('select pg_advisory_lock($1)', [templateLock])
  const { rowCount } = await client.query('select 1 from pg_database where datname = $1', [name])
  if (rowCount === 0) {
    const unfinished = `making_${name}`
    await client.query(`drop database if exists ${unfinished}`)
    await client.query(`create database ${unfinished}`)
    const database = await openDatabase({ url: urlOf(url, unfinished) })
    await migrate(database)
    await database.close()
    await client.query(`alter database ${unfinished} rename to ${name}`)
  }
  await client.query('select pg_advisory_unlock($1)', [templateLock])
  return name
}

function urlOf(url: string, database: string): string {
  return url.replace(/\/indexer$/, `/${database}`)
}

/** Until a statement in this database waits for a lock that another transaction holds. */
export async function untilLockWait({ pool }: Pick<Database, 'pool'>): Promise<void> {
  while ((await pool.query(selectLockWaits)).rowCount === 0) await sleep(5)
}

const selectLockWaits = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`

export async function administer<Result>(url: string, use: (client: Client) => Promise<Result>): Promise<Result> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

/**
 * With force, which ends whoever is still connected. That is not permitted while autovacuum, a superuser's, is there; without
 * force Postgres ends autovacuum by itself, but nobody else.
 */
export async function dropDatabase(client: Client, name: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    const force = tries % 2 === 1 ? ' with (force)' : ''
    try {
      await client.query(`drop database if exists ${name}${force}`)
      return
    } catch (error) {
      const state = sqlState(error) ?? ''
      if (!['42501', '55006'].includes(state) || tries === 100) throw error
      await sleep(200)
    }
  }
}

/** Databases of test runs that were killed. */
async function dropLeftovers(client: Client): Promise<void> {
  const text = `select datname from pg_database where datname ~ '^test_[0-9]+_[0-9a-f]{8}$'`
  const { rows } = await client.query<{ datname: string }>(text)
  for (const { datname } of rows) {
    if (!isRunning(Number(datname.split('_')[1]))) await dropDatabase(client, datname)
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
