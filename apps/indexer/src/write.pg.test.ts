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
  testConfig,
} from './testing-database-repos.ts'
import { type FinishedRepo, openWriter, type RowChunk, type WriteLimits } from './write.ts'

type Crawl = Awaited<ReturnType<typeof openTestCrawl>>

function open({ database, state }: Crawl, limits: Partial<WriteLimits> = {}) {
  return openWriter({
    database,
    config: testConfig,
    process: () => state.process,
    limits: { batchMaxMs: 5, ...limits },
  })
}

const mixed = (text: string) => [
  ...notes(2, text),
  { collection: 'test.app.like', rkey: 'l1', text },
  { collection: 'test.other.thing', rkey: 'x', text },
]

test('what is left out is counted to the last record, by name or among the others', async () => {
  await using crawl = await openTestCrawl(1)
  const writer = open(crawl)
  const [claim] = crawl.claims
  if (claim === undefined) throw new Error('one repo')
  const named = Array.from({ length: 500 }, (_, i) => [`test.left.c${i}`, 2] as const)
  await writer.add({ ...finish(claim, { records: [] }), skipped: new Map([...named, ['(other)', 1_000] as const]) })
  const counted = await crawl.state.skippedByCollection()
  expect([...counted.values()].reduce((sum, records) => sum + records)).toBe(2_000)
  expect(counted.get('(other)')).toBe(1_800)
  await writer.close()
})

test('repos of one batch commit with their rows, rejects, counts and state', async () => {
  await using crawl = await openTestCrawl(40)
  const writer = open(crawl)
  const repos = crawl.claims.map(
    (claim, index): FinishedRepo => ({
      ...finish(claim, { records: mixed(`t${index}`) }),
      skipped: new Map([['test.left.out', index]]),
      rejects: [
        {
          collection: 'test.app.note',
          rkey: 'bad',
          cid: Buffer.alloc(32, 1),
          code: 'BadCbor',
          message: 'no\0way',
          bytes: Buffer.from([1, 0, 255]),
        },
      ],
      oddities: [
        {
          collection: 'test.app.note',
          rkey: '00000000',
          column: 'text',
          code: 'TextNul',
          original: Buffer.from('a\0b'),
        },
      ],
    }),
  )
  expect(await Promise.all(repos.map((repo) => writer.add(repo)))).toEqual(repos.map(() => 'committed'))
  expect(await storedRows(crawl.database)).toHaveLength(160)
  expect(await counterErrors(crawl.database)).toEqual([])
  expect(await crawl.state.readBalance()).toMatchObject({ discovered: 40, done: 40, working: 0 })
  expect(await crawl.state.rowsByTable()).toEqual(
    new Map([
      ['like', 40],
      ['note', 80],
      ['records', 40],
    ]),
  )
  expect(await crawl.state.skippedByCollection()).toEqual(new Map([['test.left.out', 780]]))
  const { rows } = await crawl.database.pool.query(
    `select distinct state, claim, rev, records, rejected, projection_version from repos`,
  )
  expect(rows).toEqual([
    { state: 'done', claim: null, rev: revs[0], records: 4, rejected: 1, projection_version: testConfig.version },
  ])
  const rejects = await crawl.database.pool.query(`select distinct code, message, bytes from reject_rows`)
  expect(rejects.rows).toEqual([{ code: 'BadCbor', message: 'noway', bytes: Buffer.from([1, 0, 255]) }])
  await writer.close()
})

test.each([
  ['many rows are written over both connections', 3_000, 2],
  ['few rows are one transaction', 20, 1],
  ['repos without rows are one transaction', 0, 1],
])('at the end of a crawl %s', async (_, rows, transactions) => {
  await using crawl = await openTestCrawl(4)
  const writer = open(crawl, { batchMaxMs: 60_000 })
  const written = crawl.claims.map((claim) => writer.add(finish(claim, { records: notes(rows) })))
  writer.flush()
  expect(await Promise.all(written)).toEqual(['committed', 'committed', 'committed', 'committed'])
  const found = await crawl.database.pool.query(
    'select count(distinct xmin::text)::int as transactions, (select count(*)::int from note_rows) as rows from repos',
  )
  expect(found.rows).toEqual([{ transactions, rows: 4 * rows }])
  expect(await counterErrors(crawl.database)).toEqual([])
  await writer.close()
})

test('a repo whose claim is no longer ours is dropped from its batch; the others commit', async () => {
  await using crawl = await openTestCrawl(3)
  const writer = open(crawl)
  const [a, b, c] = crawl.claims
  if (!a || !b || !c) throw new Error('three claims')
  await crawl.database.pool.query(`update repos set claim = claim + 1000 where id = $1`, [b.id])
  const outcomes = await Promise.all(
    [a, b, c].map((claim) => writer.add(finish(claim, { records: notes(1, claim.did) }))),
  )
  expect(outcomes).toEqual(['committed', 'fenced', 'committed'])
  expect(await storedRows(crawl.database)).toEqual([
    `${a.did} note/00000000 ${a.did} 0`,
    `${c.did} note/00000000 ${c.did} 0`,
  ])
  const { rows } = await crawl.database.pool.query(`select sum(value)::int as bytes from counters where name = 'bytes'`)
  expect(rows).toEqual([{ bytes: 2 * finish(a, { records: notes(1, a.did) }).bytes }])
  expect(await counterErrors(crawl.database)).toEqual([])
  await writer.close()
})

test('a repo whose rows are no longer those that its fetch started from is dropped', async () => {
  await using crawl = await openTestCrawl(1)
  const writer = open(crawl)
  const [claim] = crawl.claims
  if (!claim) throw new Error('a claim')
  await crawl.database.pool.query(`update repos set rev = $1`, [revs[1]])
  expect(await writer.add(finish(claim, { records: notes(3) }))).toBe('fenced')
  expect(await writer.addLarge(claim, chunksOf(claim.id, notes(3)), () => finish(claim, { records: [] }))).toBe(
    'fenced',
  )
  expect(await storedRows(crawl.database)).toEqual([])
  await writer.close()
})

test('what was committed and is written again, as after a lost answer, stays as it is', async () => {
  await using crawl = await openTestCrawl(1)
  const writer = open(crawl)
  const [claim] = crawl.claims
  if (!claim) throw new Error('a claim')
  for (let time = 0; time < 2; time++)
    expect(await writer.add(finish(claim, { records: mixed('t') }))).toBe('committed')
  expect(await storedRows(crawl.database)).toHaveLength(4)
  expect(await counterErrors(crawl.database)).toEqual([])
  await writer.close()
})

test('a row that Postgres refuses becomes a reject with its bytes, and everything else commits', async () => {
  await using crawl = await openTestCrawl(9)
  const writer = open(crawl)
  const repos = crawl.claims.map((claim, index) => {
    const records = notes(20)
    if (index === 4) records[13] = { collection: 'test.app.note', rkey: 'culprit', text: 'nul \0 inside' }
    return finish(claim, { records })
  })
  expect(await Promise.all(repos.map((repo) => writer.add(repo)))).toEqual(repos.map(() => 'committed'))
  expect(await storedRows(crawl.database)).toHaveLength(9 * 20 - 1)
  const { rows } = await crawl.database.pool.query(
    `select did, collection, rkey, code, bytes from reject_rows join repos on id = repo`,
  )
  expect(rows).toMatchObject([
    { did: crawl.claims[4]?.did, collection: 'test.app.note', rkey: 'culprit', code: 'RowRefused' },
  ])
  expect(rows[0]?.bytes.includes('nul \0 inside')).toBe(true)
  expect(await counterErrors(crawl.database)).toEqual([])
  await writer.close()
})

test('a key that is there already ends the run, and nothing of its batch is stored', async () => {
  await using crawl = await openTestCrawl(2)
  const writer = open(crawl)
  const [a, b] = crawl.claims
  if (!a || !b) throw new Error('two claims')
  const twice = [...notes(1), ...notes(1)]
  const results = await Promise.allSettled([
    writer.add(finish(a, { records: notes(5) })),
    writer.add(finish(b, { records: twice })),
  ])
  expect(results).toMatchObject([
    { status: 'rejected', reason: { code: 'DuplicateKey' } },
    { status: 'rejected', reason: { code: 'DuplicateKey' } },
  ])
  await expect(writer.add(finish(a, { records: [] }))).rejects.toMatchObject({ code: 'DuplicateKey' })
  expect(await storedRows(crawl.database)).toEqual([])
  expect(await counterErrors(crawl.database)).toEqual([])
  await writer.close()
})

test('a repo that is fetched again has the new rows only, and its counts follow', async () => {
  await using crawl = await openTestCrawl(2)
  const writer = open(crawl)
  const [a, b] = crawl.claims
  if (!a || !b) throw new Error('two claims')
  const first = {
    ...finish(a, { records: mixed('old') }),
    skipped: new Map([['test.x', 5]]),
    rejects: [rejectOf('one'), rejectOf('two')],
  }
  await Promise.all([writer.add(first), writer.add(finish(b, { records: mixed('kept') }))])
  await crawl.database.pool.query(`update repos set state = 'stale', retry_at = now() where id = $1`, [a.id])
  await crawl.database.pool.query(`insert into counters values ('repos/done', 999, -1), ('repos/stale', 999, 1)`)
  crawl.state.lookFromTheFront(crawl.hostId)
  const [again] = await crawl.state.claimRepos(crawl.hostId, 5)
  expect(again).toMatchObject({ did: a.did, rev: revs[0] })
  if (!again) throw new Error('a claim')
  const second = {
    ...finish(again, { rev: revs[1], records: notes(1, 'new') }),
    skipped: new Map([['test.x', 2]]),
    rejects: [rejectOf('two')],
  }
  expect(await writer.add(second)).toBe('committed')
  expect((await storedRows(crawl.database)).filter((line) => line.startsWith(a.did))).toEqual([
    `${a.did} note/00000000 new 0`,
  ])
  expect(await storedRows(crawl.database)).toHaveLength(5)
  expect(await counterErrors(crawl.database)).toEqual([])
  await writer.close()
})

test('a batch that meets a deadlock is written by its next try', async () => {
  await using crawl = await openTestCrawl(2)
  const writer = open(crawl)
  const [a, b] = crawl.claims
  if (!a || !b) throw new Error('two claims')
  const other = await crawl.database.pool.connect()
  await other.query('begin')
  await other.query('select 1 from repos where id = $1 for update', [b.id])
  const written = Promise.all([a, b].map((claim) => writer.add(finish(claim, { records: notes(2) }))))
  await untilLockWait(crawl.database) // the batch has the first repo and waits for the second
  await other.query('select 1 from repos where id = $1 for update', [a.id])
  await other.query('commit')
  other.release()
  expect(await written).toEqual(['committed', 'committed'])
  expect(await counterErrors(crawl.database)).toEqual([])
  await writer.close()
})

test('a batch whose connection breaks is written over another', async () => {
  await using crawl = await openTestCrawl(2)
  const writer = open(crawl)
  const blocker = await crawl.database.pool.connect()
  await blocker.query('begin')
  await blocker.query('select 1 from repos for update')
  const written = Promise.all(crawl.claims.map((claim) => writer.add(finish(claim, { records: notes(2) }))))
  await untilLockWait(crawl.database)
  await blocker.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`,
  )
  await blocker.query('commit')
  blocker.release()
  expect(await written).toEqual(['committed', 'committed'])
  expect(await storedRows(crawl.database)).toHaveLength(4)
  await writer.close()
})

test('a large repo is written in pieces and commits once', async () => {
  await using crawl = await openTestCrawl(2)
  const writer = open(crawl, { pieceBytes: 10_000 })
  const [a, b] = crawl.claims
  if (!a || !b) throw new Error('two claims')
  const records = [...notes(5_000), ...notes(3_000).map((note) => ({ ...note, collection: 'test.other.thing' }))]
  const large = writer.addLarge(a, chunksOf(a.id, records), () => ({
    ...finish(a, { records: [] }),
    rejects: [rejectOf('r')],
  }))
  const small = writer.add(finish(b, { records: notes(1) }))
  expect(await Promise.all([large, small])).toEqual(['committed', 'committed'])
  expect(await storedRows(crawl.database)).toHaveLength(8_001)
  expect(await counterErrors(crawl.database)).toEqual([])
  await writer.close()
})

test('a large repo whose walk fails in the middle leaves nothing', async () => {
  await using crawl = await openTestCrawl(1)
  const writer = open(crawl, { pieceBytes: 10_000 })
  const [claim] = crawl.claims
  if (!claim) throw new Error('a claim')
  async function* failing(id: number): AsyncGenerator<RowChunk> {
    yield* chunksOf(id, notes(5_000))
    throw new RangeError('block missing')
  }
  await expect(writer.addLarge(claim, failing(claim.id), () => finish(claim, { records: [] }))).rejects.toThrow(
    'block missing',
  )
  expect(await storedRows(crawl.database)).toEqual([])
  expect(await crawl.state.readBalance()).toMatchObject({ working: 1, done: 0 })
  expect(await writer.add(finish(claim, { records: notes(1) }))).toBe('committed')
  expect(await counterErrors(crawl.database)).toEqual([])
  await writer.close()
})

test('a refused row of a large repo becomes a reject', async () => {
  await using crawl = await openTestCrawl(1)
  const writer = open(crawl, { pieceBytes: 10_000 })
  const [claim] = crawl.claims
  if (!claim) throw new Error('a claim')
  const records = notes(2_000)
  records[777] = { collection: 'test.app.note', rkey: 'culprit', text: '\0' }
  expect(await writer.addLarge(claim, chunksOf(claim.id, records), () => finish(claim, { records: [] }))).toBe(
    'committed',
  )
  expect(await storedRows(crawl.database)).toHaveLength(1_999)
  expect((await crawl.database.pool.query(`select rkey, code from reject_rows`)).rows).toEqual([
    { rkey: 'culprit', code: 'RowRefused' },
  ])
  expect(await counterErrors(crawl.database)).toEqual([])
  await writer.close()
})

test('a large repo with more rejects than one piece holds keeps all of them, and its bytes are counted', async () => {
  await using crawl = await openTestCrawl(1)
  const writer = open(crawl, { pieceBytes: 10_000 })
  const [claim] = crawl.claims
  if (!claim) throw new Error('a claim')
  async function* chunks(id: number): AsyncGenerator<RowChunk> {
    for (let start = 0; start < 90; start += 30) {
      yield* chunksOf(
        id,
        notes(10, `text ${start}`).map((note) => ({ ...note, rkey: `${start}${note.rkey}` })),
      )
      yield { rejects: Array.from({ length: 30 }, (_, i) => rejectOf(`bad${start + i}`)), oddities: [] }
    }
  }
  expect(await writer.addLarge(claim, chunks(claim.id), () => finish(claim, { records: [] }))).toBe('committed')
  const { rows } = await crawl.database.pool.query(`
    select records, rejected, (select count(distinct rkey)::int from reject_rows) as rejects,
      (select sum(value) > 0 from counters where name = 'bytes') as counted from repos`)
  expect(rows).toEqual([{ records: 30, rejected: 90, rejects: 90, counted: true }])
  expect(await counterErrors(crawl.database)).toEqual([])
  await writer.close()
})

test('a large repo whose connection breaks leaves nothing and is to be tried again', async () => {
  await using crawl = await openTestCrawl(1)
  const writer = open(crawl, { pieceBytes: 10_000 })
  const [claim] = crawl.claims
  if (!claim) throw new Error('a claim')
  async function* interrupted(id: number): AsyncGenerator<RowChunk> {
    yield* chunksOf(id, notes(2_000))
    await crawl.database.pool.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where xact_start is not null and backend_type = 'client backend' and pid <> pg_backend_pid() and datname = current_database()`,
    )
    yield* chunksOf(
      id,
      notes(2_000).map((note) => ({ ...note, rkey: `x${note.rkey}` })),
    )
  }
  await expect(
    writer.addLarge(claim, interrupted(claim.id), () => finish(claim, { records: [] })),
  ).rejects.toMatchObject({ code: 'WriteInterrupted' })
  expect(await storedRows(crawl.database)).toEqual([])
  expect(await writer.addLarge(claim, chunksOf(claim.id, notes(10)), () => finish(claim, { records: [] }))).toBe(
    'committed',
  )
  await writer.close()
})

function rejectOf(rkey: string): FinishedRepo['rejects'][number] {
  return {
    collection: 'test.app.note',
    rkey,
    cid: Buffer.alloc(32),
    code: 'BadCbor',
    message: 'm',
    bytes: Buffer.from('b'),
  }
}
