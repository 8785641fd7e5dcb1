// Question: does a listing of a million repos that are known already take minutes, not a crawl? And the first one?
// A relay on loopback (a thread of its own) gives pages of 1,000 over HTTP; `discover` reads and commits them. In the second pass one
// repo in a hundred has a newer rev and one in a thousand has become inactive.
// `node --conditions=workspace-source apps/indexer/bench/listing.ts [--repos 1000000] [--json]`
import { once } from 'node:events'
import { createServer } from 'node:http'
import { cpus } from 'node:os'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { migrate, openDatabase } from '../src/database.ts'
import { discover } from '../src/discover.ts'
import { listRepos } from '../src/fetch-pages.ts'
import { openHttp } from '../src/http.ts'
import { openState } from '../src/state.ts'
import { openBenchPostgres } from './pipeline-postgres.ts'

const pageSize = 1000
const revs = { first: '3laaaaaaaaa22', newer: '3lbbbbbbbbb22' }

if (isMainThread) await bench()
else await serve(workerData.repos)

async function bench(): Promise<void> {
  const { values } = parseArgs({
    options: { json: { type: 'boolean', default: false }, repos: { type: 'string', default: '1000000' } },
  })
  const repos = Number(values.repos)
  const relay = new Worker(new URL(import.meta.url), { workerData: { repos } })
  const [origin] = (await once(relay, 'message')) as [string]
  await using postgres = await openBenchPostgres()
  const database = await openDatabase({ url: await postgres.freshDatabase() })
  await migrate(database)
  const state = await openState(database)
  await using http = openHttp({ version: 'bench', allowPrivateHosts: true })
  const signal = new AbortController().signal
  const pass = async (name: 'first' | 'later') => {
    const startMs = performance.now()
    const startCpu = process.cpuUsage()
    const progress = { name, listed: 0, refused: 0 }
    const page = (cursor: string | undefined) =>
      listRepos({ host: `${origin}/${name}`, limit: pageSize, cursor }, { http, signal })
    const log = { debug: () => {}, warn: console.error, error: console.error }
    const retry = { baseDelayMs: 100, maxAttempts: 3 }
    await discover(
      { name: 'relay', page, hasEverybody: true },
      { state, log, retry, signal, trustHosts: false, onPage: () => {}, progress },
    )
    const { user, system } = process.cpuUsage(startCpu) // of the indexer and the relay's thread
    return { case: name, ms: performance.now() - startMs, cpuMs: (user + system) / 1000, rows: progress.listed }
  }
  const first = await pass('first')
  await database.pool.query(`update repos set state = 'done', rev = $1`, [revs.first])
  await database.pool.query(
    `insert into counters values ('repos/waiting', 999, -$1::bigint), ('repos/done', 999, $1)`,
    [repos],
  )
  await database.pool.query('vacuum analyze repos')
  const later = await pass('later')
  const { done, stale, gone } = await state.readBalance()
  await state.end()
  await database.close()
  await relay.terminate()
  if (stale === 0 || gone === 0 || done + stale + gone !== repos) throw new Error('the later pass is wrong')
  const [machine] = cpus()
  if (values.json) {
    const cases = [first, later].map(({ ms, ...rest }) => ({ ...rest, side: 'indexer', medianMs: ms, reps: 1 }))
    const node = process.version
    console.log(
      JSON.stringify({
        bench: 'listing',
        machine: { cpu: machine?.model, cores: cpus().length, node },
        cases,
        ratios: {},
      }),
    )
    return
  }
  for (const { case: name, ms, cpuMs, rows } of [first, later]) {
    const perSecond = Math.round((rows / ms) * 1000).toLocaleString('en-US')
    console.log(
      `${name.padEnd(6)} ${rows} rows in ${(ms / 1000).toFixed(1)} s, ${perSecond}/s, ${(cpuMs / 1000).toFixed(1)} s of processor`,
    )
  }
  console.log(`after the later one ${stale} are stale and ${gone} gone`)
}

/** `/first/xrpc/...` and `/later/xrpc/...` list the same repos a while apart. */
async function serve(repos: number): Promise<void> {
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '', 'http://relay')
    const later = url.pathname.startsWith('/later')
    const from = Number(url.searchParams.get('cursor') ?? 0)
    const rows = Array.from({ length: Math.min(pageSize, repos - from) }, (_, offset) => {
      const index = from + offset
      const rev = later && index % 100 === 0 ? revs.newer : revs.first
      const activity = later && index % 1000 === 1 ? { active: false, status: 'deactivated' } : { active: true }
      return {
        did: didOf(index),
        head: 'bafyreib2rxk3rybk3aobmv5cjuql3bm2twh4jo5uxgf5kpqcsgz7soitae',
        rev,
        ...activity,
      }
    })
    const end = from + rows.length
    response.setHeader('content-type', 'application/json')
    response.end(JSON.stringify({ repos: rows, ...(end < repos && { cursor: String(end) }) }))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a server without a port')
  parentPort?.postMessage(`http://127.0.0.1:${address.port}`)
}

/** In no order, as DIDs are: their 24 characters are a hash. */
function didOf(index: number): string {
  let value = BigInt(index) * 0x9e37_79b9_7f4a_7c15n
  let text = ''
  for (let digit = 0; digit < 24; digit++) {
    text += 'abcdefghijklmnopqrstuvwxyz234567'[Number(value & 31n)]
    value = (value >> 5n) ^ ((value * 0xbf58_476d_1ce4_e5b9n) & 0xffff_ffff_ffff_ffffn)
  }
  return `did:plc:${text}`
}
