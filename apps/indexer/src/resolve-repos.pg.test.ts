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

function didOf(index: number): string {
  const digits = [...index.toString(10)].map((digit) => 'abcdefghij'[Number(digit)]).join('')
  return `did:plc:${digits.padStart(24, 'z')}`
}
