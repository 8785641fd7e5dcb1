// One side of `bench:peers` in a process of its own: its name, a folder of CARs and an empty database in (a line of JSON as
// argument), what it took out. The CARs are read into memory, and tables and repos are made, before the clock runs.
import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../src/config.ts'
import { loadConfig } from '../src/config.ts'
import { type Database, migrate, openDatabase } from '../src/database.ts'
import { applySchema } from '../src/schema.ts'
import { type ClaimedRepo, openState, type State } from '../src/state.ts'
import { runKysely } from './peers-kysely.ts'
import { runOurs } from './peers-ours.ts'
import { walkAtcute, walkAtproto } from './peers-walk.ts'
import { readStored, type StoredRepos } from './pipeline-repos.ts'
import { cpuMsOfFamily } from './pipeline-usage.ts'

export interface SideArgs {
  side: SideName
  dir: string
  url: string
  /** Of the postmaster. */
  postgresPid: number
}

export interface SideAnswer {
  wallMs: number
  cpuMs: number
  postgresCpuMs: number
  peakRssMiB: number
}

/** A repo in memory that the database knows, claimed. */
export interface SideRepo {
  claim: ClaimedRepo
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

const sides = {
  ours: runOurs,
  '@atproto/repo + kysely': (context: SideContext) => runKysely(context, walkAtproto),
  '@atcute/repo + kysely': (context: SideContext) => runKysely(context, walkAtcute),
}
export type SideName = keyof typeof sides

const host = 'https://pds.bench.test'
const { side, dir, url, postgresPid }: SideArgs = JSON.parse(process.argv[2] ?? '{}')
const config = await loadConfig()
const database = await openDatabase({ url })
await migrate(database)
await applySchema(database, { config })
const state = await openState(database)
const stored = readStored(dir)
const repos = pair(await claimAll(stored), readCars(stored))
const postgresBefore = cpuMsOfFamily(postgresPid)
const cpuBefore = process.cpuUsage()
const startMs = performance.now()
await sides[side]({ url, config, database, state, repos })
const wallMs = performance.now() - startMs
const { user, system } = process.cpuUsage(cpuBefore)
const answer: SideAnswer = {
  wallMs,
  cpuMs: (user + system) / 1000,
  postgresCpuMs: cpuMsOfFamily(postgresPid) - postgresBefore,
  peakRssMiB: process.resourceUsage().maxRSS / 1024,
}
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
  return claims.map((claim) => {
    const car = cars.get(claim.did)
    if (car === undefined) throw new Error('every claim is of a stored repo')
    return { claim, car }
  })
}
