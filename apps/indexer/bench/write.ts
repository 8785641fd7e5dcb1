// Question: how near does the writer come to what Postgres can take, and how many small repos a second does it commit?
// Both sides load the same rows into the same tables, keys in place, of the same server. Ours: rows that are projected already are
// encoded, batched and committed with the state of their repos. Theirs: psql \copy of the finished bytes.
// `node --conditions=workspace-source apps/indexer/bench/write.ts [--json] [--reps 3]`
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { type Entry, entryOf } from 'repo-stream'
import { cidOf, encodeRecord, generateRecords, makeDid } from 'repo-stream/fixtures'
import { type Config, loadConfig } from '../src/config.ts'
import { migrate, openDatabase } from '../src/database.ts'
import { MemoryBudget } from '../src/memory-budget.ts'
import { createProjection } from '../src/project/projection.ts'
import { placeOf } from '../src/project/testing-place.ts'
import { RepoRows } from '../src/repo-rows.ts'
import { RowBuffers } from '../src/row-buffers.ts'
import { applySchema } from '../src/schema.ts'
import { type ClaimedRepo, openState } from '../src/state.ts'
import { openWriter, type WriteLimits } from '../src/write.ts'
import { median } from './median.ts'
import { openBenchPostgres } from './pipeline-postgres.ts'
import { loadWithPsql } from './pipeline-psql.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    reps: { type: 'string', default: '3' },
    limits: { type: 'string', default: '{}' },
    case: { type: 'string' },
  },
})

interface Case {
  name: string
  repos: number
  records: number
}

const cases: Case[] = [
  { name: 'repos of 1,000 records', repos: 300, records: 1_000 },
  { name: 'small repos (26 records)', repos: 8_000, records: 26 },
]

interface Result {
  case: string
  side: 'ours' | 'psql'
  medianMs: number
  reps: number
  rows: number
  commits: number
  cpuMs: number
  postgresCpuMs: number
}

interface Load {
  ms: number
  rows: number
  cpuMs: number
  postgresCpuMs: number
}

const empty = new Uint8Array(36)
const commit = {
  did: '',
  version: 3,
  data: empty,
  rev: '3kaaaaaaaaa22',
  prev: null,
  sig: empty,
  cid: empty,
  signedBytes: empty,
} as const

const config = await loadConfig({ collections: ['*'] })
const limits: Partial<WriteLimits> = JSON.parse(values.limits)
await using postgres = await openBenchPostgres()
const results: Result[] = []
for (const one of cases.filter(({ name }) => values.case === undefined || name.includes(values.case))) {
  results.push(...(await measure(one, Number(values.reps))))
}
report(results, await postgres.settings())

async function measure({ name, repos, records }: Case, reps: number): Promise<Result[]> {
  const entries = Array.from({ length: Math.min(repos, 200) }, (_, seed) => project(config, seed, records))
  const ours: Load[] = []
  const theirs: Load[] = []
  for (let rep = 0; rep < reps; rep++) {
    const url = await postgres.freshDatabase()
    ours.push(await loadOurs(url, entries, repos))
    const { wallMs: ms, rows, clientCpuMs: cpuMs, postgresCpuMs } = await loadWithPsql(url, postgres, config)
    theirs.push({ ms, rows, cpuMs, postgresCpuMs })
  }
  return [summarize(name, 'ours', ours, repos), summarize(name, 'psql', theirs, repos)]
}

function summarize(name: string, side: Result['side'], loads: Load[], commits: number): Result {
  const middle = (value: (load: Load) => number) => Math.round(median(loads.map(value)))
  return {
    case: name,
    side,
    medianMs: middle(({ ms }) => ms),
    reps: loads.length,
    rows: loads[0]?.rows ?? 0,
    commits,
    cpuMs: middle(({ cpuMs }) => cpuMs),
    postgresCpuMs: middle(({ postgresCpuMs }) => postgresCpuMs),
  }
}

function project(config: Config, seed: number, count: number): Entry[] {
  const projection = createProjection(config)
  return [...generateRecords({ seed, count })].map(({ key, value }) => {
    const block = encodeRecord(value)
    const cid = cidOf(block)
    const [collection = '', rkey = ''] = key.split('/')
    return entryOf({
      collection,
      rkey,
      cid,
      data: Uint8Array.from(projection.process(block, cid.subarray(4), placeOf(block))),
    })
  })
}

async function loadOurs(url: string, entries: readonly Entry[][], repos: number): Promise<Load> {
  const database = await openDatabase({ url })
  await migrate(database)
  await applySchema(database, { config })
  const state = await openState(database)
  const claims = await claimAll(state, repos)
  const writer = openWriter({ database, config, process: () => state.process, limits })
  const cpuBefore = process.cpuUsage()
  const postgresBefore = postgres.cpuMs()
  const startMs = performance.now()
  const rows = await writeAll(writer, claims, entries)
  await writer.close()
  const ms = performance.now() - startMs
  const { user, system } = process.cpuUsage(cpuBefore)
  const load = { ms, rows, cpuMs: (user + system) / 1000, postgresCpuMs: postgres.cpuMs() - postgresBefore }
  await state.end()
  await database.close()
  return load
}

async function claimAll(state: Awaited<ReturnType<typeof openState>>, repos: number): Promise<ClaimedRepo[]> {
  await state.readSource('bench')
  for (let start = 0; start < repos; start += 1_000) {
    const dids = Array.from({ length: Math.min(1_000, repos - start) }, (_, index) => ({
      did: makeDid(start + index),
      active: true,
    }))
    await state.commitPage({
      source: 'bench',
      cursor: String(start),
      repos: dids,
      finished: false,
      host: 'https://pds.test',
    })
  }
  const [host] = await state.hostsWithWork()
  const claims: ClaimedRepo[] = []
  while (claims.length < repos) claims.push(...(await state.claimRepos(host?.hostId ?? 0, 1_000)))
  return claims
}

/** As a crawl does: a few thousand repos may wait for their commit, then encoding waits. */
async function writeAll(
  writer: ReturnType<typeof openWriter>,
  claims: readonly ClaimedRepo[],
  entries: readonly Entry[][],
): Promise<number> {
  const projection = createProjection(config)
  const shared = { budget: new MemoryBudget(256 * 1024 * 1024), rowBuffers: new RowBuffers() }
  const unwritten = new Set<Promise<unknown>>()
  let heldBytes = 0
  let rows = 0
  for (const [index, claim] of claims.entries()) {
    const sink = new RepoRows(claim, shared)
    for (const entry of entries[index % entries.length] ?? []) projection.settle(entry, sink)
    const repo = sink.finish({ ...commit, did: claim.did })
    rows += repo.rows
    heldBytes += repo.bytes
    const written = writer.add(repo).then(() => {
      heldBytes -= repo.bytes
      unwritten.delete(written)
    })
    unwritten.add(written)
    while (unwritten.size >= 4_000 || heldBytes > 64 * 1024 * 1024) await Promise.race(unwritten)
    if (index % 16 === 0) await new Promise(setImmediate) // the sockets' turn, as between fetches
  }
  await Promise.all(unwritten)
  return rows
}

function report(cases: Result[], settings: Record<string, string>): void {
  const ratios = Object.fromEntries(
    cases.flatMap((ours) => {
      const psql = cases.find((other) => other.side === 'psql' && other.case === ours.case)
      return ours.side === 'ours' && psql
        ? [[`${ours.case}/psql`, Number((psql.medianMs / ours.medianMs).toFixed(2))]]
        : []
    }),
  )
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version, postgres: settings }
  if (values.json) {
    console.log(JSON.stringify({ bench: 'write', machine, cases, ratios }))
    return
  }
  console.log(machine.cpu, machine.cores, machine.node, JSON.stringify(settings))
  for (const { case: name, side, medianMs, rows, commits, cpuMs, postgresCpuMs } of cases) {
    const perSecond = (n: number) => Math.round((n / medianMs) * 1000).toLocaleString('en-US')
    const cpu = `cpu us/row ${((cpuMs * 1000) / rows).toFixed(1)} + postgres ${((postgresCpuMs * 1000) / rows).toFixed(1)}`
    console.log(`${name}  ${side}  ${medianMs} ms  ${perSecond(rows)} rows/s  ${perSecond(commits)} repos/s  ${cpu}`)
  }
  console.log(ratios)
}
