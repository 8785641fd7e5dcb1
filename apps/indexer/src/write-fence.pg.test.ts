// What the fence looks at: the row of `repos` as it is when nobody else can change it any more, and whether it is our own work.
import { expect, test } from 'vitest'
import { untilLockWait } from './testing-database.ts'
import {
  chunksOf,
  counterErrors,
  finish,
  notes,
  openTestCrawl,
  revs,
  storedRows,
  type TestCrawl,
  testConfig,
} from './testing-database-repos.ts'
import { openWriter } from './write.ts'

const open = ({ database, state }: TestCrawl) =>
  openWriter({ database, config: testConfig, process: () => state.process, limits: { batchMaxMs: 5 } })

test.each(['small', 'large'] as const)(
  'a %s repo whose claim is being given to another process while its rows come is left to that one',
  async (kind) => {
    await using crawl = await openTestCrawl(1)
    const { database, claims } = crawl
    const writer = open(crawl)
    const [claim] = claims
    if (!claim) throw new Error('a claim')
    const other = await database.pool.connect()
    await other.query('begin')
    await other.query('update repos set claim = claim + 1000')
    const repo = finish(claim, { records: notes(3) })
    const written =
      kind === 'small' ? writer.add(repo) : writer.addLarge(claim, chunksOf(claim.id, notes(3)), () => repo)
    await untilLockWait(database)
    await other.query('commit')
    other.release()
    expect(await written).toBe('fenced')
    expect(await storedRows(database)).toEqual([])
    expect(await counterErrors(database)).toEqual([])
    await writer.close()
  },
)

test('of two commits with one rev the second is not taken for the first', async () => {
  await using crawl = await openTestCrawl(1)
  const writer = open(crawl)
  const [claim] = crawl.claims
  if (!claim) throw new Error('a claim')
  const first = finish(claim, { records: notes(3) })
  expect(await writer.add(first)).toBe('committed')
  expect(await writer.add({ ...first, head: Buffer.alloc(36, 'another') })).toBe('fenced')
  expect(await storedRows(crawl.database)).toHaveLength(3)
  await writer.close()
})

test('a large repo that has not changed, whose connection breaks before its commit, is to be tried again', async () => {
  await using crawl = await openTestCrawl(1)
  const { database, state, claims, hostId } = crawl
  const writer = open(crawl)
  const [claim] = claims
  if (!claim) throw new Error('a claim')
  expect(await writer.add(finish(claim, { records: notes(3) }))).toBe('committed')
  await database.pool.query(`update repos set state = 'stale', retry_at = now()`)
  await database.pool.query(`insert into counters values ('repos/done', 999, -1), ('repos/stale', 999, 1)`)
  state.lookFromTheFront(hostId)
  const [again] = await state.claimRepos(hostId, 1)
  if (again?.rev !== revs[0]) throw new Error('the stale repo')
  const blocker = await database.pool.connect()
  await blocker.query('begin; lock table counters in exclusive mode') // the last that is written before the commit
  const written = writer.addLarge(again, chunksOf(again.id, notes(3)), () => finish(again, { records: [] }))
  const failed = expect(written).rejects.toMatchObject({ code: 'WriteInterrupted' })
  await untilLockWait(database)
  await blocker.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`,
  )
  await blocker.query('commit')
  blocker.release()
  await failed
  expect(await state.readBalance()).toMatchObject({ working: 1, done: 0 })
  await writer.close()
})
