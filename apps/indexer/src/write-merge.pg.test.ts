import { createRandom, type Random } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import type { ClaimedRepo } from './state.ts'
import {
  chunksOf,
  counterErrors,
  finish,
  openTestCrawl,
  storedRows,
  type TestCrawl,
  type TestRecord,
  testConfig,
} from './testing-database-repos.ts'
import { openWriter, type Writer } from './write.ts'

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 1_000_000))
const ways = ['in a batch', 'as a large repo'] as const

test.each(ways)(
  `a repo fetched again ${'%s'} has exactly its new rows, and those that stay are not touched (SEED=${seed})`,
  async (way) => {
    await using crawl = await openTestCrawl(2)
    const writer = openWriter({
      database: crawl.database,
      config: testConfig,
      process: () => crawl.state.process,
      limits: { batchMaxMs: 1, pieceBytes: 3_000 },
    })
    const random = createRandom(`merge ${seed}`)
    const [bystander, repo] = crawl.claims
    if (!bystander || !repo) throw new Error('two claims')
    const others = randomRecords(random, 50)
    await writer.add(finish(bystander, { records: others }))

    let records = randomRecords(random, 400)
    await write(writer, way, { claim: repo, records, round: 0 })
    for (let round = 1; round <= 6; round++) {
      const before = await versions(crawl)
      records = change(random, records)
      expect(await write(writer, way, { claim: await again(crawl, repo), records, round })).toBe('committed')
      const expected = [
        ...records.map((record) => lineOf(repo, record)),
        ...others.map((record) => lineOf(bystander, record)),
      ]
      expect(await storedRows(crawl.database)).toEqual(expected.sort())
      expect(await counterErrors(crawl.database)).toEqual([])
      const after = await versions(crawl)
      for (const [line, version] of before) if (after.has(line)) expect(after.get(line), line).toBe(version)
    }
    await writer.close()
  },
)

test.each(ways)('a repo fetched again %s after the config changed is written anew', async (way) => {
  await using crawl = await openTestCrawl(1)
  const config = { ...testConfig, version: testConfig.version + 1 }
  const [old, now] = [testConfig, config].map((config) =>
    openWriter({ database: crawl.database, config, process: () => crawl.state.process, limits: { batchMaxMs: 1 } }),
  )
  const [claim] = crawl.claims
  if (!claim || !old || !now) throw new Error('a claim and two writers')
  const records = randomRecords(createRandom(`anew ${seed}`), 50)
  await write(old, way, { claim, records, round: 0 })
  const before = await versions(crawl)
  await write(now, way, { claim: await again(crawl, claim), records, round: 1 })
  const after = await versions(crawl)
  expect([...after.keys()]).toEqual([...before.keys()])
  for (const [line, version] of before) expect(after.get(line)).not.toBe(version)
  expect(await counterErrors(crawl.database)).toEqual([])
  await old.close()
  await now.close()
})

test('a large repo with more stored rows than one look at them reads has exactly its new rows', async () => {
  await using crawl = await openTestCrawl(1)
  const { database, state } = crawl
  const writer = openWriter({ database, config: testConfig, process: () => state.process })
  const [claim] = crawl.claims
  if (!claim) throw new Error('a claim')
  const old = (collection: string, count: number): TestRecord[] =>
    Array.from({ length: count }, (_, i) => ({ collection, rkey: `k${100_000 + i}`, text: `old ${i}` }))
  const records = [...old('test.app.note', 25_000), ...old('test.other.a', 11_000)]
  await write(writer, 'as a large repo', { claim, records, round: 0 })
  const now = records
    .filter((_, i) => i % 5 !== 0)
    .map((record, i) => (i % 7 === 0 ? { ...record, text: `new ${i}` } : record))
  await write(writer, 'as a large repo', { claim: await again(crawl, claim), records: now, round: 1 })
  expect(await storedRows(database)).toEqual(now.map((record) => lineOf(claim, record)).sort())
  expect(await counterErrors(database)).toEqual([])
  await writer.close()
})

interface Round {
  claim: ClaimedRepo
  records: TestRecord[]
  round: number
}

async function write(writer: Writer, way: (typeof ways)[number], { claim, records, round }: Round) {
  const rev = `3k${'abcdefgh'.charAt(round)}aaaaaaaaa2`
  const sorted = [...records].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
  if (way === 'in a batch') return await writer.add(finish(claim, { rev, records: sorted }))
  return await writer.addLarge(claim, chunksOf(claim.id, sorted), () => finish(claim, { rev, records: [] }))
}

async function again({ state, hostId, database }: TestCrawl, { id }: ClaimedRepo): Promise<ClaimedRepo> {
  await database.pool.query(`update repos set state = 'stale', retry_at = now() where id = $1`, [id])
  await database.pool.query(`insert into counters values ('repos/done', 999, -1), ('repos/stale', 999, 1)
    on conflict (name, writer) do update set value = counters.value + excluded.value`)
  state.lookFromTheFront(hostId)
  const [claim] = await state.claimRepos(hostId, 1)
  if (claim?.id !== id) throw new Error('the stale repo is claimed')
  return claim
}

/** In collections whose order differs between MST keys and (collection, rkey): `test.other.a.b/x` comes before `test.other.a/x`. */
const collections = ['test.app.note', 'test.app.like', 'test.other.a', 'test.other.a.b', 'test.other.z']

function randomRecords(random: Random, count: number): TestRecord[] {
  const records = new Map<string, TestRecord>()
  while (records.size < count) {
    const record = {
      collection: random.pick(collections),
      rkey: `k${random.below(5_000)}`,
      text: `text ${random.below(1_000_000)}`,
    }
    records.set(keyOf(record), record)
  }
  return [...records.values()]
}

/** Some go, some change, some come; now and then a whole collection goes. */
function change(random: Random, records: TestRecord[]): TestRecord[] {
  const lost = random.chance(0.3) ? random.pick(collections) : ''
  const kept = records.filter(({ collection }) => collection !== lost && !random.chance(0.1))
  const changed = kept.map((record) =>
    random.chance(0.1) ? { ...record, text: `changed ${random.below(1_000_000)}` } : record,
  )
  const all = [...randomRecords(random, random.below(60)), ...changed]
  return [...new Map(all.map((record) => [keyOf(record), record])).values()]
}

function keyOf({ collection, rkey }: TestRecord): string {
  return `${collection}/${rkey}`
}

function lineOf({ did }: ClaimedRepo, { collection, rkey, text }: TestRecord): string {
  return `${did} ${collection.replace('test.app.', '')}/${rkey} ${text}`
}

/** Which transaction wrote each row. */
async function versions({ database }: TestCrawl): Promise<Map<string, string>> {
  const { rows } = await database.pool.query<{ line: string; version: string }>(`
    select 'note ' || repo || rkey || text as line, xmin::text as version from note_rows
    union all select 'like ' || repo || rkey || subject, xmin::text from like_rows
    union all select collection || repo || rkey || (whole_jsonb(record) ->> 'text'), xmin::text from records_rows order by 1`)
  return new Map(rows.map(({ line, version }) => [line, version]))
}
