import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { openTestHttp, startTestServer } from './http-test-server.ts'
import { openLog } from './log.ts'
import { createResolver } from './resolve.ts'
import { resolveRepos } from './resolve-repos.ts'
import { openState } from './state.ts'
import { openTestDatabase } from './testing-database.ts'
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

function didOf(index: number): string {
  const digits = [...index.toString(10)].map((digit) => 'abcdefghij'[Number(digit)]).join('')
  return `did:plc:${digits.padStart(24, 'z')}`
}
