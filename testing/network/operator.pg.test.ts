// Mistakes at the command line, as an operator makes them: each ends with a code, one line that says what to do, and exit code 2;
// nothing is made or changed by it.
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openTestDatabase, type TestDatabase } from 'indexer/src/testing-database.ts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runIndexer } from './run-indexer.ts'

let database: TestDatabase
let dir: string

beforeAll(async () => {
  database = await openTestDatabase()
  dir = await mkdtemp(join(tmpdir(), 'operator-'))
  await writeFile(join(dir, 'a-file'), '')
})

afterAll(async () => {
  await database?.close()
  await rm(dir, { recursive: true, force: true })
})

async function refused(args: readonly string[], code: string, what: RegExp): Promise<void> {
  const { exitCode, stdout, stderr } = await runIndexer(args)
  expect({ exitCode, stdout }, stderr).toEqual({ exitCode: 2, stdout: '' })
  expect(stderr).toMatch(new RegExp(`^indexer: ${code}: [^\n]+\n$`))
  expect(stderr).toMatch(what)
}

const embedded = () => ['--data-dir', join(dir, 'nothing')]
const other = () => ['--database', database.url, '--schema', 'nobodys']

test.each([
  ['sql', 'select 1'],
  ['rejects'],
  ['rejects', 'replay'],
  ['finish'],
  ['tables', '--changes'],
  ['reproject', '--archive', 'x'],
])('%s %s makes no database where none is', async (...verb) => {
  await refused([...verb, ...embedded()], 'NoDatabase', /nothing: give the --data-dir/)
  await refused([...verb, ...other()], 'NoDatabase', /no schema nobodys/)
  expect(await readdir(dir)).toEqual(['a-file'])
  const { rowCount } = await database.pool.query(`select from pg_namespace where nspname = 'nobodys'`)
  expect(rowCount).toBe(0)
})

test.each([
  ['selct 1', /syntax error/],
  ['delete from repos', /read-only/],
  ['select * from nowhere', /nowhere/],
])('sql %j says what Postgres says', async (query, what) => {
  await refused(['sql', query, '--database', database.url], 'QueryRefused', what)
})

test.each(['mysql://localhost/x', 'localhost', 'me:secret@host/db'])('--database %s is no Postgres', async (url) => {
  await refused(['run', '--database', url], 'BadUsage', /no URL of a Postgres/)
  const { stderr } = await runIndexer(['run', '--database', url])
  expect(stderr).not.toContain('secret')
})

test('a role without the right to make a schema is told so', async () => {
  const standby = `${database.url}${database.url.includes('?') ? '&' : '?'}options=-c%20default_transaction_read_only%3Don`
  await refused(['run', '--database', standby, '--schema', 'fresh'], 'DatabaseRefused', /does not permit it/)
})

test('a database of a newer version is left alone', async () => {
  await database.pool.query(`insert into kysely_migration values ('9999_future', '2030-01-01')`)
  try {
    const { exitCode, stderr } = await runIndexer(['run', '--database', database.url])
    expect({ exitCode, stderr }).toEqual({
      exitCode: 75,
      stderr: expect.stringMatching(/^indexer: MigrationFailed: .* newer version .*9999_future.*\n$/),
    })
  } finally {
    await database.pool.query(`delete from kysely_migration where name = '9999_future'`)
  }
})

test.each([['--relay'], ['--plc'], ['--collection-directory'], ['--source', 'host=']])(
  'http is asked only of a network of our own: %s %s',
  async (flag, prefix = '') => {
    const args = ['run', '--database', database.url, flag, `${prefix}http://server.example`]
    await refused(args, 'BadUsage', /server\.example .*--allow-private-hosts/)
  },
)

test('a folder that cannot be used is named', async () => {
  await refused(['run', '--data-dir', join(dir, 'a-file')], 'FileUnusable', /a-file/)
  await refused(['run', '--data-dir', dir, '--spill-dir', join(dir, 'a-file')], 'FileUnusable', /a-file/)
  await refused(['demo', '--data-dir', join(dir, 'a-file')], 'FileUnusable', /a-file/)
})
