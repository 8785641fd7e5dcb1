// Where the embedded server listens and how it is set: read from and kept in `server.json`, beside the data.
import { randomBytes } from 'node:crypto'
import * as fs from 'node:fs'
import { tmpdir, totalmem } from 'node:os'
import { join } from 'node:path'
import type { Launcher } from './embedded-database-launcher.ts'
import { freePort, isFreePort } from './free-port.ts'

const socketPathBytes = 107 // sun_path

/** What must survive a restart, in `server.json` beside the data. */
export interface ServerConfig {
  port: number
  password: string
  socketDir: string
}

export async function readConfig(home: string, launcher: Launcher): Promise<ServerConfig> {
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

/** A port that is taken meanwhile is given up; but if it is part of a URL in use, the socket is all that is listened on. */
export async function chooseAddress(
  home: string,
  config: ServerConfig,
  urlInUse: boolean,
): Promise<Record<string, string>> {
  if (await isFreePort(config.port)) return {}
  if (urlInUse) return { listen_addresses: '' }
  config.port = await freePort()
  writeConfig(home, config)
  return {}
}

/** fsync stays on. Sizes suit a bulk load: fewer checkpoints, no WAL that only replicas need. */
export function settingsOf(config: ServerConfig, others: Record<string, string>): string[] {
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
    // A crash ends the whole server, and its users start it again. One that recovers by itself can hang for ever when it is stopped
    // meanwhile (18.4: its checkpointer is never told), and its postmaster.pid goes on saying `ready`.
    restart_after_crash: 'off',
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
