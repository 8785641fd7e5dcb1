// What Postgres can take: the final rows of a run, dumped in binary, loaded into the same tables of a fresh database, keys in
// place and no other index, as it was for the indexer.
// psql's \copy does it, one table after the other; where there is no psql, pipeline-copy.ts: the same bytes over the wire.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Config, loadConfig } from '../src/config.ts'
import { migrate, openDatabase } from '../src/database.ts'
import { applySchema } from '../src/schema.ts'
import { copyFromFiles, copyToFiles, type TableFile } from './pipeline-copy.ts'
import { ask, type BenchPostgres } from './pipeline-postgres.ts'
import { usageOf } from './pipeline-usage.ts'

export interface PsqlLoad {
  client: 'psql' | 'pg'
  wallMs: number
  rows: number
  bytes: number
  postgresCpuMs: number
  clientCpuMs: number
}

/** Drops the database of `url`; `config` is the one that made its tables, if it is not the default. */
export async function loadWithPsql(url: string, postgres: BenchPostgres, config?: Config): Promise<PsqlLoad> {
  const dir = mkdtempSync(join(tmpdir(), 'atproto-indexer-bench-'))
  const client = spawnSync('psql', ['--version']).status === 0 ? 'psql' : 'pg'
  try {
    const files = await filledTables(url, dir)
    await (client === 'psql' ? runPsql(url, files, 'to') : copyToFiles(url, files))
    const rows = await countAll(url, files)
    const target = await postgres.freshDatabase()
    await makeTables(target, config)
    const cpuBefore = postgres.cpuMs()
    const startMs = performance.now()
    const clientCpuMs = await (client === 'psql' ? runPsql(target, files, 'from') : copyFromFiles(target, files))
    const wallMs = performance.now() - startMs
    const postgresCpuMs = postgres.cpuMs() - cpuBefore
    if ((await countAll(target, files)) !== rows) throw new Error('psql loaded another number of rows')
    const bytes = files.reduce((sum, { file }) => sum + statSync(file).size, 0)
    return { client, wallMs, rows, bytes, postgresCpuMs, clientCpuMs }
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

export async function makeTables(url: string, config?: Config): Promise<void> {
  const database = await openDatabase({ url })
  try {
    await migrate(database)
    await applySchema(database, { config: config ?? (await loadConfig()) })
  } finally {
    await database.close()
  }
}

async function filledTables(url: string, dir: string): Promise<TableFile[]> {
  const tables = await ask<{ name: string }>(
    url,
    `select relname as name from pg_class
     where relnamespace = 'atproto'::regnamespace and relkind = 'r' and relname ~ '_rows$' and pg_relation_size(oid) > 0 order by 1`,
  )
  return tables.map(({ name }) => ({ table: `atproto.${name}`, file: join(dir, name) }))
}

async function countAll(url: string, files: readonly TableFile[]): Promise<number> {
  let sum = 0
  for (const { table } of files) {
    const [row] = await ask<{ rows: number }>(url, `select count(*)::float8 as rows from ${table}`)
    sum += row?.rows ?? 0
  }
  return sum
}

/** Returns the CPU time of psql, nearly: its last 10 ms are not seen. */
async function runPsql(url: string, files: readonly TableFile[], direction: 'to' | 'from'): Promise<number> {
  const commands = files.map(({ table, file }) => `\\copy ${table} ${direction} '${file}' (format binary)`)
  const args = ['--no-psqlrc', '--quiet', '-v', 'ON_ERROR_STOP=1', ...commands.flatMap((command) => ['-c', command])]
  const child = spawn('psql', [...args, url], { stdio: ['ignore', 'ignore', 'inherit'] })
  let cpuMs = 0
  const timer = setInterval(() => {
    cpuMs = Math.max(cpuMs, usageOf(child.pid ?? -1)?.cpuMs ?? 0)
  }, 10)
  await once(child, 'close')
  clearInterval(timer)
  if (child.exitCode !== 0) throw new Error(`psql ended with ${child.exitCode}`)
  return cpuMs
}
