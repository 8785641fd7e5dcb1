// Tables filled from the archive must be those that a fresh crawl with the same config would have made.
import { copyFile, mkdir, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { archivePath } from 'indexer/src/archive.ts'
import { loadConfig } from 'indexer/src/config.ts'
import { finish } from 'indexer/src/finish.ts'
import { indexStatements } from 'indexer/src/schema-indexes.ts'
import { createRandom } from 'repo-stream/fixtures'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { FakeNetwork } from './fakes.ts'
import { compareLines } from './read-views.ts'
import { crawl, freshCrawl, openPlace, type Place, readAll, reproject, unarchived } from './reproject-fake.ts'
import { startResumeNetwork } from './resume-network.ts'

let network: FakeNetwork
let after: Map<string, number>

beforeAll(async () => {
  network = await startResumeNetwork(1, 24)
  after = await freshCrawl(network, 'after')
}, 240_000)
afterAll(() => network.close())

const requests = () => network.requests.getRepo.values().reduce((sum, times) => sum + times, 0)
const states = async ({ database }: Place) =>
  (
    await database.pool.query<{ state: string; why: string | null; repos: number }>(
      `select state, stale_reason as why, count(*)::int as repos from repos group by 1, 2 order by 1, 2`,
    )
  ).rows

test('a new column, a new collection and a generic table are filled from the archive as a fresh crawl would; readers see the old rows or the new, always all', async () => {
  await using place = await openPlace()
  await crawl(network, place, { config: 'before' })
  expect(await unarchived(place)).toEqual([])
  expect(await readdir(join(place.archive, 'unfinished'))).toEqual([])
  const asked = requests()
  const reader = readAlways(place)
  const [result] = await Promise.all([reproject(place, 'after'), readForLong(place)])
  expect(await reader.end()).toEqual([])
  expect(requests()).toBe(asked)
  const done = (await states(place)).find(({ state }) => state === 'done')
  expect(result).toEqual({ reprojected: done?.repos, carried: {}, stale: 0 })
  expect(compareLines(after, await readAll(place.database))).toEqual([])
  const { rows } = await place.database.pool.query(`select nspname from pg_namespace where nspname like 'atproto%'`)
  expect(rows).toEqual([{ nspname: 'atproto' }])

  await crawl(network, place, { config: 'after' })
  expect(compareLines(after, await readAll(place.database))).toEqual([])
  const config = await loadConfig({ path: place.config('after') })
  await finish(place.database, { config })
  expect(await reproject(place, 'after')).toEqual(result)
  expect(compareLines(after, await readAll(place.database))).toEqual([])
  const indexes = indexStatements(config, 'atproto').map(({ name }) => name)
  expect(await finish(place.database, { config })).toMatchObject({ built: [], present: indexes }) // moved with their tables
}, 240_000)

/** Counts the rows of the views again and again; gives what was neither an error nor the number that is there. */
function readAlways({ database }: Place): { end(): Promise<string[]> } {
  let ended = false
  let counted: number | undefined
  const wrong: string[] = []
  const reading = (async () => {
    while (!ended) {
      try {
        const { rows } = await database.pool.query<{ rows: number }>(
          `select (select count(*) from "like")::int + (select count(*) from post)::int + (select count(*) from rejects)::int as rows`,
        )
        counted ??= rows[0]?.rows
        if (rows[0]?.rows !== counted) wrong.push(`${rows[0]?.rows} rows, not ${counted}`)
      } catch (error) {
        wrong.push(String(error))
      }
    }
  })()
  return {
    async end() {
      ended = true
      await reading
      return wrong
    },
  }
}

/** A transaction that has read a view and ends only when the swap has begun to wait for it. */
async function readForLong({ database }: Place): Promise<void> {
  const client = await database.pool.connect()
  await client.query('begin; select * from "like" limit 1')
  const waits = `select from pg_locks where not granted and mode = 'AccessExclusiveLock' and database = (
    select oid from pg_database where datname = current_database())`
  while ((await database.pool.query(waits)).rowCount === 0) await sleep(20)
  await client.query('commit')
  client.release()
}

test('repos whose CAR is missing, cut short, damaged, of another account or of another rev keep their rows, and run fetches them', async () => {
  await using place = await openPlace()
  await crawl(network, place, { config: 'before' })
  const before = await readAll(place.database)
  const { rows } = await place.database.pool.query<{ did: string }>(
    `select did from repos r where state = 'done' and exists (select from like_rows t where t.repo = r.id) order by id`,
  )
  const paths = rows.map(({ did }) => archivePath(place.archive, did))
  const [missing = '', cut = '', damaged = '', foreign = '', outdated = '', other = ''] = paths
  await rm(missing)
  await truncate(cut, 100)
  await flipAByte(damaged)
  await copyFile(other, foreign)
  await place.database.pool.query(
    `update repos set rev = '3a' || substr(rev, 3), head = set_byte(head, 20, 255 - get_byte(head, 20)) where did = $1`,
    [rows[4]?.did],
  )
  const result = await reproject(place, 'after')
  expect(result.carried).toMatchObject({ ArchiveMissing: 1, ArchiveOutdated: 2 })
  expect(Object.values(result.carried).reduce((sum, n) => sum + n, 0)).toBe(5)
  expect(result.stale).toBe(5)
  expect(await states(place)).toContainEqual({ state: 'stale', why: 'missing-column', repos: 5 })
  const likes = await place.database.pool.query<{ did: string; filled: boolean; rows: number }>(
    `select did, bool_and(subject_uri is not null) as filled, count(*)::int as rows from "like" group by did`,
  )
  const left = new Set(rows.slice(0, 5).map(({ did }) => did))
  expect(
    likes.rows
      .filter(({ filled }) => !filled)
      .map(({ did }) => did)
      .sort(),
  ).toEqual([...left].sort())
  expect(likes.rows.reduce((sum, row) => sum + row.rows, 0)).toBe(
    before.entries().reduce((sum, [line, times]) => sum + (line.startsWith('like ') ? times : 0), 0),
  )
  expect(outdated).not.toBe('')

  const asked = requests()
  await crawl(network, place, { config: 'after' })
  expect(compareLines(after, await readAll(place.database))).toEqual([])
  expect(requests() - asked).toBeLessThanOrEqual(5 + 4) // and those that always fail
  expect(await unarchived(place)).toEqual([])
}, 240_000)

/** In a frame, where only a hash can tell. */
async function flipAByte(path: string): Promise<void> {
  const bytes = await readFile(path)
  const at = bytes.length >> 2
  bytes[at] = (bytes[at] ?? 0) ^ 1
  await writeFile(path, bytes)
}

test('a run between two halves of a reproject changes repos, and the second half knows', async () => {
  const own = await startResumeNetwork(2, 24)
  try {
    await using place = await openPlace()
    await crawl(own, place, { config: 'before' })
    await expect(reprojectUntil(place, 10)).rejects.toThrow()
    const random = createRandom('edits')
    for (const account of own.accounts.filter(({ status }) => status === 'active').slice(0, 30))
      own.edit(account, random)
    await place.database.pool.query('delete from sources')
    await crawl(own, place, { config: 'before' })
    const result = await reproject(place, 'after')
    expect(result.carried).toEqual({})
    expect(compareLines(await freshCrawl(own, 'after'), await readAll(place.database))).toEqual([])
  } finally {
    await own.close()
  }
}, 240_000)

/** Stops when so many repos are filled in. */
async function reprojectUntil(place: Place, repos: number): Promise<void> {
  const stop = new AbortController()
  const watching = setInterval(async () => {
    const { rows } = await place.database.pool
      .query<{ done: number }>(`select count(*)::int as done from atproto_reproject.repos where state = 'done'`)
      .catch(() => ({ rows: [] }))
    if ((rows[0]?.done ?? 0) >= repos) stop.abort(new Error('enough'))
  }, 20)
  try {
    await reproject(place, 'after', stop.signal)
  } finally {
    clearInterval(watching)
  }
}

test('a view of the user over a table stops the swap; without it only the swap is left to do', async () => {
  await using place = await openPlace()
  await crawl(network, place, { config: 'before' })
  const before = await readAll(place.database)
  await place.database.pool.query('create view atproto.mine as select rkey from atproto.like_rows')
  await expect(reproject(place, 'after')).rejects.toMatchObject({
    code: 'SchemaInUse',
    message: expect.stringContaining('mine'),
  })
  await place.database.pool.query('drop view atproto.mine')
  expect(compareLines(before, await readAll(place.database))).toEqual([])
  expect((await reproject(place, 'after')).reprojected).toBe(0)
  expect(compareLines(after, await readAll(place.database))).toEqual([])
}, 240_000)

test('who could read views and tables before the swap can read them after it', async () => {
  await using place = await openPlace()
  await crawl(network, place, { config: 'before' })
  const { pool } = place.database
  const names = ['like', 'post', 'rejects', 'like_rows', 'reject_rows']
  const reader = 'pg_monitor' // a role that every server has
  for (const name of names) await pool.query(`grant select on "${name}" to ${reader}`)
  await reproject(place, 'after')
  const { rows } = await pool.query<{ name: string }>(
    `select name from unnest($1::text[]) as name where has_table_privilege($2, quote_ident(name), 'select')`,
    [names, reader],
  )
  expect(rows.map(({ name }) => name)).toEqual(names)
}, 240_000)

test('repos that are gone remember what they lack, and forget what the archive gives them', async () => {
  await using place = await openPlace()
  await crawl(network, place, { config: 'before' })
  const { pool } = place.database
  const { rows } = await pool.query<{ did: string }>(
    `select did from repos r where state = 'done' and exists (select from like_rows t where t.repo = r.id) order by id limit 2`,
  )
  const [missing = '', archived = ''] = rows.map(({ did }) => did)
  await rm(archivePath(place.archive, missing))
  await pool.query(`update repos set state = 'gone', status = 'deactivated' where did in ($1, $2)`, [missing, archived])
  await pool.query(`update repos set stale_reason = 'missing-column' where did = $1`, [archived])
  expect(await reproject(place, 'after')).toMatchObject({ carried: { ArchiveMissing: 1 }, stale: 0 })
  const { rows: left } = await pool.query(
    `select did, stale_reason as why from repos where state = 'gone' and did in ($1, $2) order by id`,
    [missing, archived],
  )
  expect(left).toEqual([
    { did: missing, why: 'missing-column' },
    { did: archived, why: null },
  ])
}, 240_000)

test('a column of another type is not taken over, though Postgres stores both as text; a reused table name is refused', async () => {
  await using place = await openPlace()
  await crawl(network, place, { config: 'before' })
  const { rows: dids } = await place.database.pool.query<{ did: string; withReplies: boolean }>(
    `select did, exists (select from post p where p.did = a.did and reply is not null) as "withReplies" from accounts a
    where state = 'done' order by 2, 1`,
  )
  const texts = async () => (await place.database.pool.query('select count(text) as texts from post')).rows
  const before = await texts()
  expect(dids[0]?.withReplies).toBe(false)
  expect(dids.at(-1)?.withReplies).toBe(true)
  await expect(reproject(place, 'renamed')).rejects.toMatchObject({ code: 'BadConfig' })
  for (const { did } of dids.slice(1)) await rm(archivePath(place.archive, did))
  expect((await reproject(place, 'retyped')).reprojected).toBe(1)
  expect(await texts()).toEqual(before)
  expect((await place.database.pool.query('select from post where reply is not null')).rowCount).toBe(0)
}, 240_000)

test('an archive that has none of the repos changes nothing', async () => {
  await using place = await openPlace()
  await crawl(network, place, { config: 'before' })
  const before = await readAll(place.database)
  await rm(place.archive, { recursive: true })
  await mkdir(join(place.archive, 'unfinished'), { recursive: true })
  await expect(reproject(place, 'retyped')).rejects.toMatchObject({ code: 'ArchiveMissing' })
  expect(compareLines(before, await readAll(place.database))).toEqual([])
  const { rows } = await place.database.pool.query(`select nspname from pg_namespace where nspname like 'atproto%'`)
  expect(rows).toEqual([{ nspname: 'atproto' }])
}, 240_000)

test.each([
  ['table', 'follow_rows'],
  ['view', 'follow'],
  ['table', 'follow_rows_subject_idx'],
])(
  'a %s of the user named %s is left alone, before anything is filled',
  async (kind, name) => {
    await using place = await openPlace()
    await crawl(network, place, { config: 'before' })
    await place.database.pool.query(`create ${kind} ${name} as select 1 as mine`)
    await expect(reproject(place, 'after')).rejects.toMatchObject({ code: 'BadConfig', details: { name } })
    expect((await place.database.pool.query(`select * from ${name}`)).rows).toEqual([{ mine: 1 }])
  },
  240_000,
)
