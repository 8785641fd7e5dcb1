// The bench's Postgres: the indexer's own embedded one, with its settings, in a temporary folder; a fresh database per case.
// Everything is removed when it is disposed of.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openEmbeddedDatabase } from '../src/embedded-database.ts'
import { administer, dropDatabase } from '../src/testing-database.ts'
import { cpuMsOfFamily } from './pipeline-usage.ts'

export interface BenchPostgres extends AsyncDisposable {
  /** Drops the last one, which writes a checkpoint. */
  freshDatabase(): Promise<string>
  cpuMs(): number
  /** Of the postmaster: for `cpuMsOfFamily` in another process. */
  pid(): number
  settings(): Promise<Record<string, string>>
}

const shown = [
  'server_version',
  'fsync',
  'synchronous_commit',
  'full_page_writes',
  'autovacuum',
  'shared_buffers',
  'max_wal_size',
  'wal_level',
  'checkpoint_timeout',
  'maintenance_work_mem',
  'max_parallel_workers',
]

/** With other settings than the embedded server's own where they are what is asked about. */
export async function openBenchPostgres(settings: Record<string, string> = {}): Promise<BenchPostgres> {
  const dataDir = mkdtempSync(join(tmpdir(), 'atproto-indexer-bench-'))
  const server = await openEmbeddedDatabase({ dataDir, settings, log: { debug: () => {}, warn: () => {} } })
  let databases = 0
  const freshDatabase = async () => {
    await administer(server.url, (client) => dropDatabase(client, `bench_${databases}`))
    databases++
    await ask(server.url, `create database bench_${databases}`)
    return server.url.replace(/\/indexer$/, `/bench_${databases}`)
  }
  await touchBuffersAndWal(await freshDatabase())
  return {
    freshDatabase,
    cpuMs: () => cpuMsOfFamily(server.pid()),
    pid: server.pid,
    async settings() {
      const rows = await ask<{ name: string; setting: string }>(
        server.url,
        `select name, current_setting(name) as setting from pg_settings where name = any('{${shown}}') order by 1`,
      )
      return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]))
    },
    async [Symbol.asyncDispose]() {
      await server.stop()
      rmSync(dataDir, { recursive: true, force: true })
    },
  }
}

/**
 * What a server that runs for hours has behind it, and what would be counted to whoever comes first: the kernel clears each page of
 * the buffers when it is used for the first time, and Postgres fills each new segment of its WAL with zeros before it is
 * written (together a tenth of Postgres' time in a short crawl), where the load by psql after it finds those of the crawl.
 */
async function touchBuffersAndWal(url: string): Promise<void> {
  await ask(url, 'create table touch (page text); alter table touch alter page set storage plain')
  await ask(
    url,
    `insert into touch select repeat('x', 7900)
     from generate_series(1, 0.6 * pg_size_bytes(current_setting('max_wal_size')) / current_setting('block_size')::bigint)`,
  )
}

export function ask<Row extends object>(url: string, text: string, values: unknown[] = []): Promise<Row[]> {
  return administer(url, async (client) => (await client.query<Row>(text, values)).rows)
}
