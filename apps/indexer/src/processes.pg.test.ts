import { hostname } from 'node:os'
import { expect, test } from 'vitest'
import { isGone, placeOf } from './process-place.ts'
import { insertProcess, releaseDead } from './processes.ts'
import { openTestDatabase } from './testing-database.ts'
import { counterErrors, openTestCrawl, revs } from './testing-database-repos.ts'

test('a process that beats while it is being taken for dead keeps what it holds', async () => {
  await using database = await openTestDatabase()
  const [one, two] = [1, 2].map(() => insertProcess(database, { egress: '', deadAfterMs: 60_000 }))
  const [stopped, other] = [await one, await two]
  if (stopped === undefined || other === undefined) throw new Error('two processes')
  await database.pool.query(`update processes set beat_at = now() - interval '1 hour', session = null where id = $1`, [
    stopped,
  ])
  const client = await database.pool.connect()
  try {
    await client.query('begin')
    await client.query('update processes set beat_at = now() where id = $1', [stopped])
    const releasing = releaseDead(database, other)
    for (let waiting = 0; waiting === 0; ) {
      const { rowCount } = await database.pool.query(
        `select from pg_stat_activity where wait_event_type = 'Lock' and query like 'delete from processes%'`,
      )
      waiting = rowCount ?? 0
    }
    await client.query('commit')
    await releasing
  } finally {
    client.release()
  }
  expect((await database.pool.query('select id from processes order by id')).rows).toEqual(
    [{ id: stopped }, { id: other }].sort((a, b) => a.id - b.id),
  )
  // And one that stays silent does not.
  await database.pool.query(`update processes set beat_at = now() - interval '1 hour' where id = $1`, [stopped])
  await releaseDead(database, other)
  expect((await database.pool.query('select id from processes')).rows).toEqual([{ id: other }])
})

test.each([
  ['whose pid is no more', `update processes set session = null, place = $2 where id = $1`],
  ['that nobody knows any more', `delete from processes where id = $1 and place <> $2`],
])('what a process %s had claimed is given back at once: a repo with rows is due', async (_, end) => {
  await using crawl = await openTestCrawl(2)
  const { database, state, claims } = crawl
  await database.pool.query('update repos set rev = $2 where id = $1', [claims[0]?.id, revs[0]])
  const other = await insertProcess(database, { egress: '', deadAfterMs: 60_000 })
  await database.pool.query(end, [state.process, placeOf(process.pid).replace(/\S+$/, '1')])
  expect(await releaseDead(database, other)).toBe(2)
  const text = 'select state, claim, retry_at <= now() as due from repos order by id'
  expect((await database.pool.query(text)).rows).toEqual([
    { state: 'stale', claim: null, due: true },
    { state: 'waiting', claim: null, due: null },
  ])
  expect(await counterErrors(database)).toEqual([])
})

test('a process is gone when its pid is another one by now, and where pids cannot be seen none is', () => {
  const place = placeOf(process.pid)
  expect(isGone(place)).toBe(false)
  expect(isGone(place.replace(/\S+$/, '1'))).toBe(true)
  expect(isGone(`${hostname()} unknown ${process.pid} ?`, 'unknown')).toBe(false)
})
