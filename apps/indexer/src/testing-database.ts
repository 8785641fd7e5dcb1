// A fresh, migrated database for a test, dropped at its end. All tests of a machine share one embedded server.
import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Client } from 'pg'
import { type Database, migrate, openDatabase } from './database.ts'
import { openEmbeddedDatabase } from './embedded-database.ts'

export type TestDatabase = Database & AsyncDisposable

const silent = { debug: () => {}, warn: () => {} }

export async function openTestDatabase(
  options: { migrated?: boolean; maxConnections?: number } = {},
): Promise<TestDatabase> {
  const dataDir = join(tmpdir(), `indexer-test-database-18-${process.getuid?.() ?? 0}`)
  const server = await openEmbeddedDatabase({ dataDir, log: silent })
  const name = `test_${process.pid}_${randomBytes(4).toString('hex')}`
  await administer(server.url, async (client) => {
    await dropLeftovers(client)
    await client.query(`create database ${name}`)
  })
  const url = server.url.replace(/\/indexer$/, `/${name}`)
  const database = await openDatabase({ url, maxConnections: options.maxConnections ?? 8 })
  if (options.migrated ?? true) await migrate(database)
  const close = async () => {
    await database.close()
    await administer(server.url, (client) => client.query(`drop database ${name} with (force)`))
    await server.stop()
  }
  return { ...database, close, [Symbol.asyncDispose]: close }
}

async function administer(url: string, use: (client: Client) => Promise<unknown>): Promise<void> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    await use(client)
  } finally {
    await client.end()
  }
}

/** Databases of test runs that were killed. */
async function dropLeftovers(client: Client): Promise<void> {
  const text = `select datname from pg_database where datname ~ '^test_[0-9]+_[0-9a-f]{8}$'`
  const { rows } = await client.query<{ datname: string }>(text)
  for (const { datname } of rows) {
    if (!isRunning(Number(datname.split('_')[1]))) await client.query(`drop database if exists ${datname} with (force)`)
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
