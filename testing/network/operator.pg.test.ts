// Mistakes at the command line, as an operator makes them: each ends with a code, one line that says what to do, and exit code 2;
// nothing is made or changed by it.
import { execFile } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openTestDatabase, type TestDatabase, untilLockWait } from 'indexer/src/testing-database.ts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { launcher, type RunIndexerOptions, runIndexer, startIndexer } from './run-indexer.ts'

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

async function refused(
  args: readonly string[],
  code: string,
  what: RegExp,
  options?: RunIndexerOptions,
): Promise<void> {
  const { exitCode, stdout, stderr } = await runIndexer(args, options)
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
      exitCode: 2,
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

const withOption = (option: string) =>
  `${database.url}${database.url.includes('?') ? '&' : '?'}options=${encodeURIComponent(`-c ${option}`)}`

test('a role that may not read, and a database that is not there, are mistakes', async () => {
  const stranger = withOption('role=pg_monitor')
  await refused(['sql', 'select 1', '--database', stranger], 'DatabaseRefused', /permission denied/)
  await refused(['rejects', '--database', stranger], 'DatabaseRefused', /permission denied/)
  const elsewhere = database.url.replace(/\/[^/?]*(\?|$)/, '/nowhere$1')
  await refused(['run', '--database', elsewhere], 'DatabaseRefused', /"nowhere" does not exist/)
})

test('no archive, and no query, are mistakes', async () => {
  await refused(['reproject', '--archive', dir, '--database', database.url], 'FileUnusable', /no archive in/)
  await refused(['sql', ' ', '--database', database.url], 'BadUsage', /the query is empty/)
  await refused(['run', '--database', database.url, '--archive', join(dir, 'a-file')], 'FileUnusable', /a-file/)
})

test('a machine for which there is no embedded database is told to bring its own', async () => {
  const arch = `data:text/javascript,Object.defineProperty(process,'arch',{value:'riscv64'})`
  const args = ['run', '--data-dir', join(dir, 'elsewhere')]
  await refused(args, 'EmbeddedDatabaseMissing', /linux-riscv64 .*give --database/, {
    env: { NODE_OPTIONS: `--import=${arch}` },
  })
})

test('two demos that start together have ports of their own', async () => {
  const demos = ['one', 'two'].map((name) => ['demo', '--accounts', '10', '--data-dir', join(dir, name)])
  const first = await Promise.all(demos.map((args) => runIndexer(args)))
  expect(first.map(({ exitCode, stderr }) => (exitCode === 0 ? 0 : stderr))).toEqual([0, 0])
  const kept = ['one', 'two'].map((name) => readFile(join(dir, name, 'demo/ports.json'), 'utf8'))
  expect(new Set(await Promise.all(kept)).size).toBe(2)
}, 120_000)

const http = ['run', '--relay', 'http://127.0.0.1:1', '--database', 'postgres://nobody@127.0.0.1:1/x']

test.each([
  ['INDEXER_ALLOW_PRIVATE_HOSTS', 'false', /^indexer: BadUsage: .* is no https/],
  ['INDEXER_ALLOW_PRIVATE_HOSTS', '', /^indexer: BadUsage: .* is no https/],
  ['INDEXER_ALLOW_PRIVATE_HOSTS', 'maybe', /^error: INDEXER_ALLOW_PRIVATE_HOSTS=maybe is neither true nor false\n$/],
  ['INDEXER_PLC', ',', /^error: .*'INDEXER_PLC'.* the list is empty\n$/],
  ['INDEXER_SOURCE', ' , ', /^error: .*'INDEXER_SOURCE'.* the list is empty\n$/],
  ['INDEXER_MEMRY', '1GiB', /^error: INDEXER_MEMRY is no setting; did you mean INDEXER_MEMORY\?\n$/],
  ['INDEXER_SERVICE_PORT', '80', /^indexer: BadUsage: .* is no https/], // of Kubernetes
])('the variable %s=%s is not taken for what it does not say', async (name, value, told) => {
  const { exitCode, stderr } = await runIndexer(http, {
    env: { [name]: value, INDEXER_ARCHIVE: '', INDEXER_CONFIG: '' },
  })
  expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: expect.stringMatching(told) })
})

test('what ends a run is JSON where the log is', async () => {
  const { exitCode, stderr } = await runIndexer([
    'run',
    '--database',
    database.url,
    '--log-json',
    '--relay',
    'http://a.example',
  ])
  expect(exitCode).toBe(2)
  expect(JSON.parse(stderr)).toMatchObject({
    level: 60,
    err: { code: 'BadUsage', message: expect.stringMatching(/no https/) },
  })
})

test('a reader who goes, or a full disk, ends a query without a stack', async () => {
  const query = ['-c', `'${launcher}' sql "$1" --database "$2" | head -c 1`, '-', 'select generate_series(1, 100000)']
  expect(await runShell([...query, database.url])).toEqual({ exitCode: 0, stdout: 'g', stderr: '' })
  const full = ['-c', `'${launcher}' sql "$1" --database "$2" > /dev/full`, '-', 'select 1']
  const { exitCode, stderr } = await runShell([...full, database.url])
  expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: expect.stringMatching(/^indexer: FileUnusable: stdout/) })
})

test('a signal ends `finish` while it waits, and that is no bug', async () => {
  const config = join(dir, 'indexed.json')
  await writeFile(config, JSON.stringify({ collections: { 'a.b.c': { columns: { x: 'text' }, indexes: ['x'] } } }))
  const args = ['finish', '--database', database.url, '--config', config]
  await runIndexer(args)
  await database.pool.query('drop index c_rows_x_idx')
  const holder = await database.pool.connect()
  try {
    await holder.query('begin; lock table c_rows in row exclusive mode')
    const finishing = startIndexer(args)
    await untilLockWait(database)
    process.kill(finishing.pid, 'SIGTERM')
    const { exitCode, stderr } = await finishing.ended
    expect(exitCode, stderr).toBe(75)
    expect(stderr).toMatch(/stopped: the same command goes on from here\n$/)
  } finally {
    await holder.query('rollback')
    holder.release()
  }
})

async function runShell(args: readonly string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  return await new Promise((resolve) => {
    execFile('bash', [...args], (error, stdout, stderr) =>
      resolve({ exitCode: Number(error?.code ?? 0), stdout, stderr }),
    )
  })
}
