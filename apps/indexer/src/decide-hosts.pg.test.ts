import { expect, test, vi } from 'vitest'
import { decideHosts } from './decide-hosts.ts'
import { openTestHttp, startTestServer } from './http-test-server.ts'
import { openLog } from './log.ts'
import { createResolver } from './resolve.ts'
import { openState, type State } from './state.ts'
import { openTestDatabase } from './testing-database.ts'
import { documentOf } from './testing-did-document.ts'

const didOf = (index: number) =>
  `did:plc:${String(index)
    .padStart(24, 'z')
    .replaceAll(/\d/g, (digit) => 'abcdefghij'[Number(digit)] ?? '')}`

/** Accounts of `https://old.test` that `https://new.test` lists, too. */
async function claimAll(state: State, dids: readonly string[]): Promise<void> {
  const repos = dids.map((did) => ({ did, active: true }))
  await state.readSource('relay')
  await state.commitPage({ source: 'relay', cursor: dids[0], finished: true, repos })
  const taken = await state.takeUnresolved(dids.length)
  await state.saveResolved(taken.map(({ id }) => ({ id, origin: 'https://old.test', signingKey: 'did:key:zQ' })))
  await state.readSource('new')
  await state.commitPage({ source: 'new', cursor: dids[0], finished: true, host: 'https://new.test', repos })
}

async function hostsOf({ pool }: Awaited<ReturnType<typeof openTestDatabase>>): Promise<unknown> {
  const { rows } = await pool.query<{ origin: string; repos: number }>(
    'select origin, count(*)::int as repos from repos join hosts h on h.id = host_id group by 1',
  )
  return Object.fromEntries(rows.map(({ origin, repos }) => [origin, repos]))
}

test('claims of did:web whose hosts are silent do not hold up those of did:plc', async () => {
  await using database = await openTestDatabase()
  await using http = openTestHttp({ lookup: () => undefined, limits: { connectTimeoutMs: 60_000 } })
  await using plc = await startTestServer((request, response) => {
    response.end(JSON.stringify(documentOf((request.url ?? '').slice(1), 'https://new.test')))
  })
  const state = await openState(database)
  const webs = Array.from({ length: 600 }, (_, index) => `did:web:w${index}.example`)
  await claimAll(state, webs)
  await claimAll(
    state,
    Array.from({ length: 20 }, (_, index) => didOf(index)),
  )
  const stop = new AbortController()
  const deciding = decideHosts({
    ...{ state, concurrency: 4, moreToCome: () => false, signal: stop.signal },
    resolver: createResolver({ http, plcUrls: [plc.origin] }),
    log: openLog({ json: true, level: 'fatal' }),
  })
  const ended = expect(deciding).rejects.toBe('enough')
  const decided = { 'https://old.test': webs.length, 'https://new.test': 20 }
  await vi.waitFor(async () => expect(await hostsOf(database)).toEqual(decided), 3000)
  stop.abort('enough')
  await ended
  await state.end()
})

test('claims that the directory cannot be asked about, since it limits requests, wait and are decided in the same run', async () => {
  await using database = await openTestDatabase()
  await using http = openTestHttp()
  let asked = 0
  await using plc = await startTestServer((request, response) => {
    asked++
    if (asked % 6 === 0) return void response.writeHead(429, { 'retry-after': '0.3' }).end('{}')
    response.end(JSON.stringify(documentOf((request.url ?? '').slice(1), 'https://new.test')))
  })
  const state = await openState(database)
  await claimAll(
    state,
    Array.from({ length: 20 }, (_, index) => didOf(index)),
  )
  await decideHosts({
    ...{ state, concurrency: 2, moreToCome: () => false, signal: new AbortController().signal },
    resolver: createResolver({ http, plcUrls: [plc.origin], limits: { maxWaitMs: 50 } }),
    log: openLog({ json: true, level: 'fatal' }),
  })
  expect(await hostsOf(database)).toEqual({ 'https://new.test': 20 })
  await state.end()
})
