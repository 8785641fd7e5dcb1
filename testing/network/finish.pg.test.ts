// The step that builds the secondary indexes, as a process of its own: killed in the middle, started again by hand.
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from 'indexer/src/config.ts'
import { applySchema } from 'indexer/src/schema.ts'
import { indexStatements } from 'indexer/src/schema-indexes.ts'
import { openTestDatabase, type TestDatabase } from 'indexer/src/testing-database.ts'
import { expect, test, vi } from 'vitest'
import { runIndexer, startIndexer } from './run-indexer.ts'

test('a build that was killed is dropped and done again by `finish`, which shows how far it is', async () => {
  await using database = await openTestDatabase()
  const config = await loadConfig()
  await applySchema(database, { config })
  const names = indexStatements(config, database.schema).map((index) => index.name)
  const dataDir = await mkdtemp(join(tmpdir(), 'finish-'))
  const args = ['finish', '--database', database.url, '--data-dir', dataDir, '--log-json']
  try {
    const blocker = await database.pool.connect() // a writer whose transaction is open: builds wait for it
    await blocker.query(`begin; insert into post_rows (repo, rkey, cid) values (1, 'open', '\\x')`)
    const first = startIndexer(args)
    await vi.waitUntil(async () => (await invalidIndexes(database)).length === 1, { timeout: 60_000 })
    const seenAt = await lookedAt(database)
    await vi.waitUntil(async () => (await lookedAt(database)) > seenAt, { timeout: 60_000 }) // what it saw before is told
    process.kill(-first.pid, 'SIGKILL')
    const killed = await first.ended
    expect(killed.signal).toBe('SIGKILL')
    expect(killed.stderr).toMatch(
      new RegExp(`"index":"${names[0]}","number":1,"of":${names.length}.*"building an index"`),
    )
    await vi.waitUntil(async () => !(await isBuilding(database)), { timeout: 60_000 }) // its server process notices
    await blocker.query('rollback')
    blocker.release()
    expect(await invalidIndexes(database)).toEqual([names[0]])

    const again = await runIndexer(args)
    expect(again).toMatchObject({ exitCode: 0, signal: null })
    const lines = again.stdout.trimEnd().split('\n')
    expect(lines[0]).toBe(`dropped  ${names[0]} (half built, or out of date)`)
    for (const name of names) expect(again.stdout).toMatch(new RegExp(`^built +${name} `, 'm'))
    expect(lines.at(-1)).toBe(`${names.length} built, 0 were there`)
    expect(await invalidIndexes(database)).toEqual([])
    expect((await runIndexer(args)).stdout).toBe(`0 built, ${names.length} were there\n`)
  } finally {
    await rm(dataDir, { recursive: true, force: true })
  }
}, 240_000)

async function invalidIndexes({ pool }: TestDatabase): Promise<string[]> {
  const text = 'select relname from pg_index join pg_class c on c.oid = indexrelid where not indisvalid'
  return (await pool.query<{ relname: string }>(text)).rows.map((row) => row.relname)
}

async function isBuilding({ pool }: TestDatabase): Promise<boolean> {
  return (await pool.query('select from pg_stat_progress_create_index')).rowCount !== 0
}

/** When the process last asked how far its build is. */
async function lookedAt({ pool }: TestDatabase): Promise<number> {
  const text = `select coalesce(max(extract(epoch from query_start)), 0)::float8 as at from pg_stat_activity
    where query like '%where pid = $1%' and query like '%pg_stat_progress_create_index%' and pid <> pg_backend_pid()`
  return (await pool.query<{ at: number }>(text)).rows[0]?.at ?? 0
}
