// One side of `bench:peers` in a process of its own: its name, a folder of CARs and an empty database in (a line of JSON as
// argument), what it took out. Before the clock runs the CARs are read into memory, tables and repos are made, and the first repos are
// written, so that code is compiled and threads are there: what is compared is the rate of hours, not the first seconds of a process.
import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../src/config.ts'
import { loadConfig } from '../src/config.ts'
import { type Database, migrate, openDatabase } from '../src/database.ts'
import { applySchema } from '../src/schema.ts'
import { type ClaimedRepo, openState, type State } from '../src/state.ts'
import { openKysely } from './peers-kysely.ts'
import { openOurs } from './peers-ours.ts'
import { walkAtcute, walkAtproto } from './peers-walk.ts'
import { readStored, type StoredRepos } from './pipeline-repos.ts'
import { cpuMsOfFamily } from './pipeline-usage.ts'

export interface SideArgs {
  side: SideName
  dir: string
  url: string
  /** Of the postmaster. */
  postgresPid: number
  /** Repos that are written before the clock runs. */
  warmUp: number
}

export interface SideAnswer {
  /** Written while the clock ran. */
  rows: number
  wallMs: number
  cpuMs: number
  postgresCpuMs: number
  peakRssMiB: number
}

/** A repo in memory that the database knows, claimed. */
export interface SideRepo {
  claim: ClaimedRepo
  records: number
  /** For ours in memory that its threads share. */
  car: Buffer
}

export interface SideContext {
  url: string
  config: Config
  database: Database
  state: State
  repos: readonly SideRepo[]
}

export interface OpenSide {
  /** Ends when all rows of these repos are committed. */
  index(repos: readonly SideRepo[]): Promise<void>
  close(): Promise<void>
}

const sides = {
  ours: openOurs,
  '@atproto/repo + kysely': (context: SideContext) => openKysely(context, walkAtproto),
  '@atcute/repo + kysely': (context: SideContext) => openKysely(context, walkAtcute),
}
export type SideName = keyof typeof sides

const host = 'https://pds.bench.test'
const { side, dir, url, postgresPid, warmUp }: SideArgs = JSON.parse(process.argv[2] ?? '{}')
const config = await loadConfig()
const database = await openDatabase({ url })
await migrate(database)
await applySchema(database, { config })
const state = await openState(database)
const stored = readStored(dir)
const repos = pair(await claimAll(stored), readCars(stored))
const open = sides[side]({ url, config, database, state, repos })
await open.index(repos.slice(0, warmUp))
const timed = repos.slice(warmUp)
const postgresBefore = cpuMsOfFamily(postgresPid)
const cpuBefore = process.cpuUsage()
const startMs = performance.now()
await open.index(timed)
const wallMs = performance.now() - startMs
const { user, system } = process.cpuUsage(cpuBefore)
const answer: SideAnswer = {
  rows: timed.reduce((sum, { records }) => sum + records, 0),
  wallMs,
  cpuMs: (user + system) / 1000,
  postgresCpuMs: cpuMsOfFamily(postgresPid) - postgresBefore,
  peakRssMiB: process.resourceUsage().maxRSS / 1024,
}
await open.close()
await state.end()
await database.close()
process.stdout.write(`${JSON.stringify(answer)}\n`)

/** As a crawl would have them: listed, resolved with their keys, claimed. */
async function claimAll({ repos }: StoredRepos): Promise<ClaimedRepo[]> {
  await state.readSource('bench')
  const listed = repos.map(({ did }) => ({ did, active: true }))
  await state.commitPage({ source: 'bench', cursor: undefined, repos: listed, finished: true, host })
  const [work] = await state.hostsWithWork()
  const claims: ClaimedRepo[] = []
  while (claims.length < repos.length) claims.push(...(await state.claimRepos(work?.hostId ?? 0, 1_000)))
  const keys = new Map(repos.map(({ did, key }) => [did, key]))
  return claims.map((claim) => ({ ...claim, signingKey: keys.get(claim.did) ?? null }))
}

function readCars({ dir, files, repos }: StoredRepos): Map<string, Buffer> {
  const handles = files.map((name) => openSync(join(dir, name), 'r'))
  const cars = repos.map(({ did, file, offset, bytes }): [string, Buffer] => {
    const car = side === 'ours' ? Buffer.from(new SharedArrayBuffer(bytes)) : Buffer.allocUnsafeSlow(bytes)
    for (let done = 0; done < bytes; ) done += readSync(handles[file] ?? -1, car, done, bytes - done, offset + done)
    return [did, car]
  })
  for (const handle of handles) closeSync(handle)
  return new Map(cars)
}

function pair(claims: readonly ClaimedRepo[], cars: ReadonlyMap<string, Buffer>): SideRepo[] {
  const records = new Map(stored.repos.map((repo) => [repo.did, repo.records]))
  return claims.map((claim) => {
    const car = cars.get(claim.did)
    if (car === undefined) throw new Error('every claim is of a stored repo')
    return { claim, records: records.get(claim.did) ?? 0, car }
  })
}
