// One PostgreSQL server process: made (initdb), started, recognised by its postmaster.pid, stopped.
// A stale postmaster.pid is left to Postgres, which also checks shared memory; only a pid that meanwhile belongs to another
// program is replaced by one that cannot exist.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import * as fs from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { databaseTrouble } from './database-errors.ts'
import type { DatabaseLog } from './embedded-database.ts'
import { chooseAddress, readConfig, type ServerConfig, settingsOf } from './embedded-database-config.ts'
import type { Launcher } from './embedded-database-launcher.ts'
import { IndexerError } from './errors.ts'

export interface Server {
  readonly pid: number
  readonly data: string
  readonly config: ServerConfig
}

const recoveryTimeoutMs = 10 * 60_000 // crash recovery reads at most max_wal_size; slow disks need minutes
const refusedTimeoutMs = 20_000 // after a killed postmaster its children still hold the shared memory for a moment
const stopTimeoutMs = 120_000
const logBytes = 8 * 1024 * 1024
const impossiblePid = 4_194_305 // above the kernel's largest pid_max

export function urlOf({ config }: Pick<Server, 'config'>, role = 'indexer', database = 'indexer'): string {
  return `postgresql://${role}:${config.password}@${encodeURIComponent(config.socketDir)}:${config.port}/${database}`
}

export interface StartOptions {
  launcher: Launcher
  log: DatabaseLog
  /** Beside or instead of ours. */
  settings: Record<string, string>
  /** True when a server that this process had started or adopted is started again. */
  urlInUse: boolean
}

/** Makes the data directory if there is none, then adopts or starts its server. The caller holds the directory's lock. */
export async function startServer(home: string, options: StartOptions): Promise<Server> {
  const { launcher, log } = options
  const data = join(home, 'data')
  const config = await readConfig(home, launcher)
  if (!fs.existsSync(data)) makeData(home, launcher, config)
  const startedAt = Date.now()
  const adopted = await adopt(data, config)
  const server = adopted ?? { pid: await launch(home, config, options), data, config }
  try {
    await makeRole(server)
  } catch (error) {
    if (adopted === undefined) await stopServer(server)
    throw error
  }
  const ms = Date.now() - startedAt
  log.debug(
    { pid: server.pid, port: config.port, ms },
    adopted ? 'embedded database adopted' : 'embedded database started',
  )
  return server
}

/** SIGINT is Postgres' fast shutdown: it ends sessions, writes a checkpoint and goes. */
export async function stopServer(server: Server): Promise<void> {
  const pid = readPidFile(server.data)?.pid
  if (pid === undefined || !isServerOf(pid, server.data)) return
  process.kill(pid, 'SIGINT')
  const deadline = Date.now() + stopTimeoutMs
  while (isServerOf(pid, server.data)) {
    if (Date.now() > deadline) throw failed(`the embedded database (pid ${pid}) does not stop`, server.data, 0)
    await sleep(10)
  }
}

/** initdb into a second name, then a rename: a killed initdb leaves nothing that looks like a database. */
function makeData(home: string, launcher: Launcher, config: ServerConfig): void {
  const unfinished = join(home, 'data.new')
  const passwordFile = join(home, 'password.new')
  fs.rmSync(unfinished, { recursive: true, force: true })
  fs.mkdirSync(unfinished, { mode: 0o700 })
  fs.writeFileSync(passwordFile, config.password, { mode: 0o600 })
  if (launcher.user !== undefined) {
    fs.chownSync(unfinished, launcher.user.uid, launcher.user.gid)
    fs.chownSync(passwordFile, launcher.user.uid, launcher.user.gid)
  }
  const args = ['--pgdata', unfinished, '--username=postgres', `--pwfile=${passwordFile}`, '--auth=scram-sha-256']
  const command = launcher.command('initdb', [...args, '--encoding=UTF8', '--locale=C', '--no-instructions'])
  const result = spawnSync(command.file, command.args, { ...command.options, encoding: 'utf8' })
  fs.rmSync(passwordFile, { force: true })
  if (result.status !== 0) {
    const output = `${result.stdout ?? ''}${result.stderr ?? ''}${result.error?.message ?? ''}`
    throw new IndexerError('EmbeddedDatabaseFailed', `initdb failed in ${unfinished}: ${lastLines(output)}`, {
      details: { home, status: result.status },
    })
  }
  fs.renameSync(unfinished, join(home, 'data'))
}

interface PidFile {
  pid: number
  ready: boolean
}

/** Lines of postmaster.pid: pid, data directory, start time, port, socket directory, address, shared memory key, status. */
function readPidFile(data: string): PidFile | undefined {
  let lines: string[]
  try {
    lines = fs.readFileSync(join(data, 'postmaster.pid'), 'utf8').split('\n')
  } catch {
    return undefined
  }
  const pid = Number(lines[0])
  return Number.isInteger(pid) && pid > 0 ? { pid, ready: lines[7]?.trim() === 'ready' } : undefined
}

/** A postmaster's working directory is its data directory: a pid that was given to another program is not mistaken for it. */
function isServerOf(pid: number, data: string): boolean {
  try {
    return fs.readlinkSync(`/proc/${pid}/cwd`) === fs.realpathSync(data) && isAlive(pid)
  } catch {
    return false
  }
}

function isAlive(pid: number): boolean {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'latin1')
  return !['Z', 'X'].includes(stat.charAt(stat.lastIndexOf(')') + 2))
}

async function adopt(data: string, config: ServerConfig): Promise<Server | undefined> {
  const found = readPidFile(data)
  if (found === undefined) return undefined
  if (isServerOf(found.pid, data)) {
    await untilReady(found.pid, data, 0)
    return readPidFile(data)?.pid === found.pid ? { pid: found.pid, data, config } : undefined
  }
  if (fs.existsSync(`/proc/${found.pid}`)) {
    const path = join(data, 'postmaster.pid')
    const [, ...rest] = fs.readFileSync(path, 'utf8').split('\n')
    fs.writeFileSync(path, [impossiblePid, ...rest].join('\n'))
  }
  return undefined
}

async function launch(home: string, config: ServerConfig, options: StartOptions): Promise<number> {
  const data = join(home, 'data')
  const deadline = Date.now() + refusedTimeoutMs
  for (;;) {
    const address = await chooseAddress(home, config, options.urlInUse)
    const values = settingsOf(config, { ...address, ...options.settings })
    const { child, logStart, exit } = spawnServer(home, options.launcher, values)
    if (child.pid !== undefined && (await untilReady(child.pid, data, logStart))) {
      child.unref() // not before: waiting for its exit must keep us alive
      return child.pid
    }
    // F0001, lock_file_exists: the children of a killed server linger. A signal: somebody killed this one, too.
    const mayPass = (await exit) !== null || readFrom(join(home, 'server.log'), logStart).includes(' F0001 ')
    if (!mayPass || Date.now() > deadline) throw failed('the embedded database does not start', data, logStart)
    await sleep(50)
  }
}

interface Spawned {
  child: ChildProcess
  /** Where its log begins. */
  logStart: number
  /** The signal that ended it, or null. */
  exit: Promise<NodeJS.Signals | null>
}

function spawnServer(home: string, launcher: Launcher, settings: string[]): Spawned {
  const logPath = join(home, 'server.log')
  if ((fs.statSync(logPath, { throwIfNoEntry: false })?.size ?? 0) > logBytes) fs.renameSync(logPath, `${logPath}.1`)
  const log = fs.openSync(logPath, 'a', 0o600)
  const logStart = fs.fstatSync(log).size
  const command = launcher.command('postgres', ['-D', join(home, 'data'), ...settings])
  const child = spawn(command.file, command.args, { ...command.options, detached: true, stdio: ['ignore', log, log] })
  const exit = new Promise<NodeJS.Signals | null>((resolve) => {
    child.once('exit', (_, signal) => resolve(signal))
    child.once('error', () => resolve(null))
  })
  fs.closeSync(log)
  return { child, logStart, exit }
}

/** Waits for `ready` in postmaster.pid; false when the process has gone. */
async function untilReady(pid: number, data: string, logStart: number): Promise<boolean> {
  const deadline = Date.now() + recoveryTimeoutMs
  while (Date.now() < deadline) {
    const found = readPidFile(data)
    if (found?.pid === pid && found.ready) return true
    try {
      if (!isAlive(pid)) return false
    } catch {
      return false
    }
    await sleep(10)
  }
  throw failed(
    `the embedded database (pid ${pid}) is not ready after ${recoveryTimeoutMs / 60_000} minutes`,
    data,
    logStart,
  )
}

/** The indexer's role owns its database and may create others (the tests do); it is no superuser. */
async function makeRole(server: Server): Promise<void> {
  const client = new Client({ connectionString: urlOf(server, 'postgres', 'postgres') })
  try {
    await client.connect()
    const { rows } = await client.query(`select 1 from pg_database where datname = 'indexer'`)
    if (rows.length > 0) return
    const role = await client.query(`select 1 from pg_roles where rolname = 'indexer'`)
    if (role.rows.length === 0)
      await client.query(`create role indexer login createdb password '${server.config.password}'`)
    await client.query(`create database indexer owner indexer`)
  } catch (cause) {
    if (databaseTrouble(cause) === 'unavailable') throw cause
    throw failed('the embedded database refuses its own password or settings (server.json)', server.data, 0, cause)
  } finally {
    await client.end()
  }
}

function failed(message: string, data: string, logStart: number, cause?: unknown): IndexerError {
  const logPath = join(data, '..', 'server.log')
  const text = `${message}; ${logPath} ends with: ${lastLines(readFrom(logPath, logStart))}`
  return new IndexerError('EmbeddedDatabaseFailed', text, { cause, details: { data } })
}

function readFrom(path: string, offset: number): string {
  try {
    return fs.readFileSync(path).subarray(offset).toString('utf8')
  } catch {
    return ''
  }
}

function lastLines(text: string): string {
  return text.trim().split('\n').slice(-5).join(' | ')
}
