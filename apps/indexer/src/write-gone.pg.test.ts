import { expect, test } from 'vitest'
import {
  counterErrors,
  finish,
  notes,
  openTestCrawl,
  storedRows,
  type TestCrawl,
  testConfig,
} from './testing-database-repos.ts'
import { openWriter, type Writer } from './write.ts'

/** Four repos with rows: one stays, one is deactivated, one deleted at its host, one deleted as the listing says. */
async function openCrawl(): Promise<TestCrawl & { writer: Writer; dids: string[] }> {
  const crawl = await openTestCrawl(4)
  const writer = openWriter({
    database: crawl.database,
    config: testConfig,
    process: () => crawl.state.process,
    limits: { batchMaxMs: 1 },
  })
  const { claims, database, state } = crawl
  const skipped = new Map([['test.left.out', 2]])
  await Promise.all(claims.map((claim) => writer.add({ ...finish(claim, { records: notes(3) }), skipped })))
  const dids = claims.map(({ did }) => did)
  await database.pool.query(`update repos set state = 'stale', retry_at = now() where did = any($1)`, [
    dids.slice(1, 3),
  ])
  await database.pool.query(`insert into counters values ('repos/done', 999, -2), ('repos/stale', 999, 2)`)
  state.lookFromTheFront(crawl.hostId)
  for (const claim of await state.claimRepos(crawl.hostId, 9)) {
    const code = claim.did === dids[1] ? 'RepoDeactivated' : 'RepoNotFound'
    await state.goneRepos([{ claim, code, message: 'gone' }])
  }
  const repos = [{ did: dids[3] ?? '', active: false, status: 'deleted' }]
  await state.commitPage({ source: 'test', cursor: undefined, repos, finished: true })
  return { ...crawl, writer, dids }
}

const visible = async ({ database }: TestCrawl) =>
  (await database.pool.query<{ did: string }>('select distinct did from note order by did')).rows.map(({ did }) => did)

test.each(['hide', 'keep', 'delete'] as const)(
  'rows of deleted accounts are removed, those of inactive ones follow the policy: %s',
  async (policy) => {
    await using crawl = await openCrawl()
    const { dids, writer, database } = crawl
    expect(await visible(crawl)).toEqual(dids.slice(0, 1))
    await writer.settleGone(policy)
    expect(await visible(crawl)).toEqual(policy === 'keep' ? dids.slice(0, 2) : dids.slice(0, 1))
    expect(await storedRows(database)).toHaveLength(policy === 'delete' ? 3 : 6)
    expect(await counterErrors(database)).toEqual([])
    expect(await writer.settleGone('hide')).toEqual({ removed: 0, hidden: policy === 'keep' ? 1 : 0, shown: 0 })
    expect(await visible(crawl)).toEqual(dids.slice(0, 1))
    await writer.close()
  },
)

test('an account that comes back after its rows were removed waits for its first fetch again', async () => {
  await using crawl = await openCrawl()
  const { dids, writer, state, database } = crawl
  await writer.settleGone('delete')
  const repos = dids.map((did) => ({ did, active: true, rev: '3kaaaaaaaaa22' }))
  expect(await state.commitPage({ source: 'test', cursor: undefined, repos, finished: true })).toMatchObject({
    revived: 3,
  })
  expect(await state.readBalance()).toMatchObject({ discovered: 4, done: 1, waiting: 3, gone: 0 })
  expect(await counterErrors(database)).toEqual([])
  await writer.close()
})
