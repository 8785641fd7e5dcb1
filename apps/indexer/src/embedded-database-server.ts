// One PostgreSQL server process: made (initdb), started, recognised by its postmaster.pid, stopped.
// A stale postmaster.pid is left to Postgres, which also checks shared memory; only a pid that meanwhile belongs to another
// program is replaced by one that cannot exist.
import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from 'pg'
import { databaseTrouble } from './database-errors.ts'
import type { DatabaseLog } from './embedded-database.ts'
import type { Launcher } from './embedded-database-launcher.ts'
import { IndexerError } from './errors.ts'

export interface Server {
  readonly pid: number
  readonly data: string
  readonly config: ServerConfig
}

/** What must survive a restart, in `server.json` beside the data. */
interface ServerConfig {
  port: number
  password: string
  socketDir: string
}

const recoveryTimeoutMs = 10 * 60_000 // crash recovery reads at most max_wal_size; slow disks need minutes
const refusedTimeoutMs = 20_000 // after a killed postmaster its children still hold the shared memory for a moment
const stopTimeoutMs = 120_000
const socketPathBytes = 107 // sun_path
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

async function readConfig(home: string, launcher: Launcher): Promise<ServerConfig> {
  const path = join(home, 'server.json')
  let config: ServerConfig | undefined
  if (fs.existsSync(path)) {
    const stored: unknown = JSON.parse(fs.readFileSync(path, 'utf8'))
    if (isConfig(stored)) config = stored
  }
  const socketDir = chooseSocketDir(home, config?.socketDir)
  fs.mkdirSync(socketDir, { recursive: true })
  if (launcher.user !== undefined) fs.chownSync(socketDir, launcher.user.uid, launcher.user.gid)
  fs.chmodSync(socketDir, 0o700)
  config = { port: config?.port ?? (await freePort()), password: config?.password ?? newPassword(), socketDir }
  writeConfig(home, config)
  return config
}

function writeConfig(home: string, config: ServerConfig): void {
  const path = join(home, 'server.json')
  fs.writeFileSync(`${path}.new`, `${JSON.stringify(config, null, 2)}\n`, { mode: 0o600 })
  fs.renameSync(`${path}.new`, path)
}

function isConfig(value: unknown): value is ServerConfig {
  if (typeof value !== 'object' || value === null) return false
  const { port, password, socketDir } = value as Partial<Record<keyof ServerConfig, unknown>>
  return typeof port === 'number' && typeof password === 'string' && typeof socketDir === 'string'
}

/** Beside the data where the path is short enough; else a random folder in the temporary directory. */
function chooseSocketDir(home: string, last: string | undefined): string {
  const beside = join(home, 'socket')
  if (Buffer.byteLength(join(beside, '.s.PGSQL.65535')) <= socketPathBytes) return beside
  if (last !== undefined && last !== beside && fs.existsSync(last)) return last
  return fs.mkdtempSync(join(tmpdir(), 'indexer-'))
}

function newPassword(): string {
  return randomBytes(18).toString('base64url')
}

async function freePort(): Promise<number> {
  const listener = createServer()
  await new Promise<void>((resolve, reject) => listener.once('error', reject).listen(0, '127.0.0.1', resolve))
  const address = listener.address()
  await new Promise((resolve) => listener.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('a TCP listener has a port')
  return address.port
}

async function isFree(port: number): Promise<boolean> {
  const listener = createServer()
  return await new Promise((resolve) => {
    listener.once('error', () => resolve(false))
    listener.listen(port, '127.0.0.1', () => listener.close(() => resolve(true)))
  })
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

async function launch(home: string, config: ServerConfig, { launcher, settings }: StartOptions): Promise<number> {
  const data = join(home, 'data')
  const deadline = Date.now() + refusedTimeoutMs
  for (;;) {
    if (!(await isFree(config.port))) {
      config.port = await freePort()
      writeConfig(home, config)
    }
    const logPath = join(home, 'server.log')
    if ((fs.statSync(logPath, { throwIfNoEntry: false })?.size ?? 0) > logBytes) fs.renameSync(logPath, `${logPath}.1`)
    const log = fs.openSync(logPath, 'a', 0o600)
    const logStart = fs.fstatSync(log).size
    const command = launcher.command('postgres', ['-D', data, ...settingsOf(config, settings)])
    const child = spawn(command.file, command.args, { ...command.options, detached: true, stdio: ['ignore', log, log] })
    child.on('error', () => {}) // seen as an exit
    child.unref()
    fs.closeSync(log)
    if (child.pid !== undefined && (await untilReady(child.pid, data, logStart))) return child.pid
    const refused = readFrom(logPath, logStart).includes(' F0001 ') // lock_file_exists: the old server's children linger
    if (!refused || Date.now() > deadline) throw failed('the embedded database does not start', data, logStart)
    await sleep(50)
  }
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

/** fsync stays on. Sizes suit a bulk load: fewer checkpoints, no WAL that only replicas need. */
function settingsOf(config: ServerConfig, others: Record<string, string>): string[] {
  const mebibytes = (share: number, atMost: number) =>
    `${Math.min(atMost, Math.floor((totalmem() * share) / 2 ** 20))}MB`
  const values = {
    listen_addresses: '127.0.0.1',
    port: String(config.port),
    unix_socket_directories: config.socketDir,
    unix_socket_permissions: '0700',
    max_connections: '100',
    shared_buffers: mebibytes(1 / 8, 1024),
    maintenance_work_mem: mebibytes(1 / 16, 512),
    wal_buffers: '32MB',
    max_wal_size: '4GB',
    min_wal_size: '256MB',
    checkpoint_timeout: '15min',
    wal_level: 'minimal',
    max_wal_senders: '0',
    jit: 'off',
    autovacuum_naptime: '20s',
    log_checkpoints: 'off',
    log_line_prefix: '%m [%p] %e ',
    log_min_error_statement: 'panic', // a refused COPY would log its rows
    log_error_verbosity: 'terse',
    lc_messages: 'C',
  }
  return Object.entries({ ...values, ...others }).flatMap(([name, value]) => ['-c', `${name}=${value}`])
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
