import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import { openTestHttp, startTestServer } from './http-test-server.ts'
import { openLog } from './log.ts'
import { createResolver } from './resolve.ts'
import { resolveRepos } from './resolve-repos.ts'
import { openState } from './state.ts'
import { openTestDatabase, type TestDatabase } from './testing-database.ts'
import { documentOf } from './testing-did-document.ts'
import { News } from './wakeup.ts'

const repos = 400
const concurrency = 2
const answerAfterMs = 20

test('when answers cannot be saved the run ends, and the directory is asked no more', async () => {
  await using database = await openTestDatabase()
  await using http = openTestHttp()
  await using plc = await startTestServer(async (request, response) => {
    await sleep(answerAfterMs)
    response.end(JSON.stringify(documentOf(decodeURIComponent((request.url ?? '').slice(1)))))
  })
  const state = await openState(database)
  await state.readSource('relay')
  const listed = Array.from({ length: repos }, (_, index) => ({ did: didOf(index), active: true }))
  await state.commitPage({ source: 'relay', cursor: undefined, finished: true, repos: listed })
  await database.pool.query(`
    create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not today'; end $$;
    create trigger refuse before update on repos for each row execute function refuse()`)

  const resolving = resolveRepos({
    ...{ state, concurrency, resolved: new News(), listed: new News() },
    resolver: createResolver({ http, plcUrls: [`${plc.origin}/`] }),
    log: openLog({ json: true, level: 'fatal' }),
    retry: { baseDelayMs: 10, maxAttempts: 1 },
    signal: new AbortController().signal,
    onError: () => {},
    moreToCome: async () => false,
  })
  await expect(resolving).rejects.toThrow('not today')
  const asked = plc.asked.length
  expect(asked).toBeGreaterThan(0)
  expect(asked).toBeLessThan(repos / 2) // all of them take 4 s, the first save is due after 25 ms
  await sleep(5 * answerAfterMs)
  expect(plc.asked.length).toBe(asked)
  await state.end()
})

test('a directory that limits requests is waited for, and no repo is blamed for that', async () => {
  await using database = await openTestDatabase()
  await using http = openTestHttp()
  const allowed = 20
  const windowMs = 500
  let windowEndsMs = 0
  let left = 0
  let refused = 0
  await using plc = await startTestServer((request, response) => {
    if (Date.now() >= windowEndsMs) {
      windowEndsMs = Date.now() + windowMs
      left = allowed
    }
    if (left-- > 0) return void response.end(JSON.stringify(documentOf((request.url ?? '').slice(1))))
    refused++
    response.writeHead(429, { 'retry-after': '0.6' }).end('{}')
  })
  const state = await openState(database)
  await state.readSource('relay')
  const listed = Array.from({ length: 60 }, (_, index) => ({ did: didOf(index), active: true }))
  await state.commitPage({ source: 'relay', cursor: undefined, finished: true, repos: listed })
  const errors: unknown[] = []
  await resolveRepos({
    ...{ state, concurrency: 8, resolved: new News(), listed: new News() },
    resolver: createResolver({ http, plcUrls: [plc.origin], limits: { maxWaitMs: 100 } }),
    log: openLog({ json: true, level: 'fatal' }),
    retry: { baseDelayMs: 1, maxAttempts: 1 },
    signal: new AbortController().signal,
    onError: (error) => errors.push(error),
    moreToCome: () => state.unresolvedLeft(),
  })
  const { rows } = await database.pool.query('select count(*)::int as repos from repos where host_id is not null')
  expect(rows).toEqual([{ repos: 60 }])
  expect(errors).toEqual([])
  expect(refused).toBeLessThanOrEqual(3 * 8) // those that were under way, at the end of each window
  expect(refused).toBeGreaterThan(0)
  await state.end()
})

/** DNS never answers, and a directory with a literal address does at once. Behind 1,700 did:web, more than the queue takes, stand 100 did:plc. */
async function resolveBehindSilentHosts(
  { webTimeoutMs, concurrency }: { webTimeoutMs: number; concurrency: number },
  use: (resolving: Promise<void>, database: TestDatabase, stop: AbortController) => Promise<void>,
): Promise<void> {
  await using database = await openTestDatabase()
  await using http = openTestHttp({ lookup: () => undefined, limits: { connectTimeoutMs: 60_000 } })
  await using plc = await startTestServer((request, response) => {
    response.end(JSON.stringify(documentOf((request.url ?? '').slice(1))))
  })
  const state = await openState(database)
  await state.readSource('relay')
  const webs = Array.from({ length: 1700 }, (_, index) => `did:web:w${index}.example`)
  const plcs = Array.from({ length: 100 }, (_, index) => didOf(index))
  for (const dids of [webs, plcs]) {
    const repos = dids.map((did) => ({ did, active: true }))
    await state.commitPage({ source: 'relay', cursor: dids[0], finished: dids === plcs, repos })
  }
  const stop = new AbortController()
  const resolving = resolveRepos({
    ...{ state, concurrency, resolved: new News(), listed: new News(), signal: stop.signal },
    resolver: createResolver({ http, plcUrls: [plc.origin], limits: { webTimeoutMs } }),
    log: openLog({ json: true, level: 'fatal' }),
    retry: { baseDelayMs: 1, maxAttempts: 1 },
    onError: () => {},
    moreToCome: () => state.unresolvedLeft(),
  })
  await use(resolving, database, stop)
  await state.end()
}

async function countByMethod({ pool }: TestDatabase): Promise<{ plc: number; web: number } | undefined> {
  const { rows } = await pool.query<{ plc: number; web: number }>(`
    select count(*) filter (where did like 'did:plc:%' and host_id is not null)::int as plc,
      count(*) filter (where did like 'did:web:%' and state = 'failed' and error_code = 'BodyTooSlow')::int as web
    from repos`)
  return rows[0]
}

test('many did:web whose hosts are silent do not hold up did:plc', () =>
  resolveBehindSilentHosts({ webTimeoutMs: 60_000, concurrency: 4 }, async (resolving, database, stop) => {
    const ended = expect(resolving).rejects.toBe('enough')
    await vi.waitFor(async () => expect(await countByMethod(database)).toEqual({ plc: 100, web: 0 }), 4000)
    stop.abort('enough')
    await ended
  }))

test(
  'did:web that had no room in the queue are asked later, and the stage ends behind them',
  () =>
    resolveBehindSilentHosts({ webTimeoutMs: 5, concurrency: 64 }, async (resolving, database) => {
      await resolving
      expect(await countByMethod(database)).toEqual({ plc: 100, web: 1700 })
    }),
  20_000,
)

function didOf(index: number): string {
  const digits = [...index.toString(10)].map((digit) => 'abcdefghij'[Number(digit)]).join('')
  return `did:plc:${digits.padStart(24, 'z')}`
}
