// Invariants I1 and I2 where they are hardest: everything was written, and then the commit itself fails. A deferred constraint
// makes it fail; what was written by another connection would stay.
import { expect, test } from 'vitest'
import type { TestDatabase } from './testing-database.ts'
import {
  chunksOf,
  counterErrors,
  finish,
  notes,
  openTestCrawl,
  storedRows,
  testConfig,
} from './testing-database-repos.ts'
import { type FinishedRepo, openWriter } from './write.ts'

/** From now on no transaction that writes a row of `repos` commits. */
async function refuseCommits({ pool }: TestDatabase): Promise<void> {
  await pool.query(`
    create function refuse() returns trigger language plpgsql as $$ begin raise exception 'refused at its commit'; end $$;
    create constraint trigger refuse after insert or update on repos deferrable initially deferred
    for each row execute function refuse()`)
}

async function allowCommits({ pool }: TestDatabase): Promise<void> {
  await pool.query('drop trigger refuse on repos')
}

/** All that a writer may change, as text. */
async function everything({ pool }: TestDatabase): Promise<unknown> {
  const tables = ['repos', 'sources', 'reject_rows', 'oddity_rows', 'note_rows', 'like_rows', 'records_rows']
  const contents = await Promise.all(
    tables.map(async (table) => {
      const { rows } = await pool.query<{ line: string }>(`select t::text as line from ${table} t order by 1`)
      return rows.map(({ line }) => `${table} ${line}`)
    }),
  )
  const { rows } = await pool.query(
    `select name, sum(value) from counters group by name having sum(value) <> 0 order by 1`,
  )
  return [contents, rows]
}

const odd = (repo: FinishedRepo): FinishedRepo => ({
  ...repo,
  skipped: new Map([['test.left.out', 3]]),
  rejects: [
    {
      collection: 'test.app.note',
      rkey: 'bad',
      cid: Buffer.alloc(32),
      code: 'BadCbor',
      message: 'm',
      bytes: Buffer.of(1),
    },
  ],
  oddities: [{ collection: 'test.app.note', rkey: '0', column: 'text', code: 'TextNul', original: Buffer.of(1) }],
})

test.each(['small', 'large'] as const)(
  'a %s repo whose commit fails leaves no row, reject, count or state',
  async (kind) => {
    await using crawl = await openTestCrawl(3)
    const writer = openWriter({
      database: crawl.database,
      config: testConfig,
      process: () => crawl.state.process,
      limits: { batchMaxMs: 5 },
    })
    const [first, second] = crawl.claims
    if (!first || !second) throw new Error('two claims')
    expect(await writer.add(odd(finish(first, { records: notes(3) })))).toBe('committed')
    await refuseCommits(crawl.database)
    const before = await everything(crawl.database)
    const repo = odd(finish(second, { records: notes(3) }))
    const written =
      kind === 'small' ? writer.add(repo) : writer.addLarge(second, chunksOf(second.id, notes(500)), () => repo)
    await expect(written).rejects.toThrow('refused at its commit')
    await writer.close().catch(() => {})
    expect(await everything(crawl.database)).toEqual(before)
    expect(await storedRows(crawl.database)).toHaveLength(3)
    expect(await counterErrors(crawl.database)).toEqual([])
    await allowCommits(crawl.database)
  },
)

test('a page whose commit fails leaves no repo, cursor or count', async () => {
  await using crawl = await openTestCrawl(1)
  const page = { source: 'relay', cursor: 'c1', finished: false, repos: [{ did: 'did:plc:a', active: true }] }
  const before = await everything(crawl.database)
  await crawl.state.readSource('relay')
  await refuseCommits(crawl.database)
  await expect(crawl.state.commitPage(page)).rejects.toThrow('refused at its commit')
  expect(await everything(crawl.database)).toEqual(before)
  expect(await counterErrors(crawl.database)).toEqual([])
  await allowCommits(crawl.database)
})
