import { hostname } from 'node:os'
import { expect, test } from 'vitest'
import { isGone, placeOf } from './process-place.ts'
import { insertProcess, releaseDead } from './processes.ts'
import { openTestDatabase } from './testing-database.ts'

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

test('a process is gone when its pid is another one by now, and where pids cannot be seen none is', () => {
  const place = placeOf(process.pid)
  expect(isGone(place)).toBe(false)
  expect(isGone(place.replace(/\S+$/, '1'))).toBe(true)
  expect(isGone(`${hostname()} unknown ${process.pid} ?`, 'unknown')).toBe(false)
})
