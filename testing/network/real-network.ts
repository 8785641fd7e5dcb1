// The real network of the tests, populated: built once (about a minute), then restored from a copy in a few seconds.
// The copy lies in node_modules/.cache and is made again when anything that shapes it changes.
import { createHash } from 'node:crypto'
import { cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { populate, type RealAccount } from './real-population.ts'
import { newRotationKey, type PlcLogs, startRealServers } from './real-servers.ts'

export interface RealNetwork {
  readonly pdsUrl: string
  readonly plcUrl: string
  readonly accounts: readonly RealAccount[]
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

interface Snapshot {
  readonly rotationKey: string
  readonly plcLogs: PlcLogs
  readonly accounts: readonly RealAccount[]
}

/** Changes to the PDS are made on a copy: every call gives the same population. */
export async function startRealNetwork(): Promise<RealNetwork> {
  const cached = await cachedSnapshot()
  const snapshot = JSON.parse(await readFile(join(cached, 'snapshot.json'), 'utf8')) as Snapshot
  const dir = await mkdtemp(join(tmpdir(), 'testing-network-'))
  try {
    await cp(join(cached, 'pds'), dir, { recursive: true })
    const servers = await startRealServers({ dir, ...snapshot })
    const close = async () => {
      await servers.close()
      await rm(dir, { recursive: true, force: true })
    }
    return {
      pdsUrl: servers.pdsUrl,
      plcUrl: servers.plcUrl,
      accounts: snapshot.accounts,
      close,
      [Symbol.asyncDispose]: close,
    }
  } catch (error) {
    await rm(dir, { recursive: true, force: true })
    throw error
  }
}

const cacheRoot = join(import.meta.dirname, '../../node_modules/.cache/testing-network')
const shapingFiles = [
  'testing/network/real-population.ts',
  'testing/network/odd-records.ts',
  'testing/network/real-servers.ts',
  'testing/network/package.json',
  ...['population', 'records', 'posts', 'prose'].map((name) => `apps/indexer/demo/${name}.ts`),
]

/** The folder of the snapshot. Of several processes that find none, one builds and the others wait for it. */
async function cachedSnapshot(): Promise<string> {
  const hash = createHash('sha256')
  for (const file of shapingFiles) hash.update(await readFile(join(import.meta.dirname, '../..', file)))
  const folder = join(cacheRoot, hash.digest('hex').slice(0, 16))
  await mkdir(cacheRoot, { recursive: true })
  for (let waited = 0; waited < 600; waited++) {
    if (await exists(join(folder, 'snapshot.json'))) return folder
    if (await takeLock(`${folder}.building`)) {
      try {
        await build(folder)
      } finally {
        await rm(`${folder}.building`, { force: true })
      }
      return folder
    }
    await sleep(500)
  }
  throw new Error(`another process builds ${folder} for too long; remove ${folder}.building if there is none`)
}

async function build(folder: string): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'testing-network-'))
  try {
    const rotationKey = newRotationKey()
    const servers = await startRealServers({ dir, rotationKey })
    let accounts: RealAccount[]
    let plcLogs: PlcLogs
    try {
      accounts = await populate(servers.pdsUrl)
      plcLogs = servers.plcLogs()
    } finally {
      await servers.close()
    }
    const snapshot: Snapshot = { rotationKey, plcLogs, accounts }
    const half = `${folder}.half`
    await rm(half, { recursive: true, force: true })
    await cp(dir, join(half, 'pds'), { recursive: true })
    await writeFile(join(half, 'snapshot.json'), JSON.stringify(snapshot))
    await rename(half, folder)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}

/** A file with our process id; one whose process has died is taken over. */
async function takeLock(path: string): Promise<boolean> {
  try {
    await writeFile(path, String(process.pid), { flag: 'wx' })
    return true
  } catch {
    const holder = Number(await readFile(path, 'utf8').catch(() => '0'))
    if (holder > 0 && !isRunning(holder)) await rm(path, { force: true })
    return false
  }
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

const exists = (path: string) =>
  readFile(path).then(
    () => true,
    () => false,
  )
