// Passes of listings, page by page, and who is found missing behind them.
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openState, type State } from './state.ts'
import { openTestDatabase, type TestDatabase } from './testing-database.ts'

let database: TestDatabase
let state: State

beforeEach(async () => {
  database = await openTestDatabase()
  state = await openState(database)
})
afterEach(async () => {
  await state?.end()
  await database?.close()
})

const host = 'https://pds.example.com'
const source = `host ${host}`
const did = (index: number) => `did:plc:${String(index).padStart(24, 'a')}`
const range = (count: number) => Array.from({ length: count }, (_, index) => index)

async function list(indexes: readonly number[], { of = source, pageSize = 2, begun = 0 } = {}): Promise<number> {
  await state.readSource(of)
  const isHost = of === source
  for (let start = begun; ; start += pageSize) {
    const repos = indexes.slice(start, start + pageSize).map((index) => ({ did: did(index), active: true }))
    const finished = start + pageSize >= indexes.length
    const page = { source: of, cursor: finished ? undefined : String(start), repos, finished, isSighting: true }
    await state.commitPage(isHost ? { ...page, host } : page)
    if (finished) return await state.compareSightings(of, isHost ? host : undefined)
  }
}

async function unlisted(): Promise<string[]> {
  const { rows } = await database.pool.query<{ did: string }>(
    'select did from unlisted join repos on id = repo order by did',
  )
  return rows.map((row) => row.did)
}

const settle = () => database.pool.query(`update repos set state = 'done', rev = '3aaaaaaaaaaaa'`)
const sightings = async () => (await database.pool.query('select pass, page from sightings order by 1, 2')).rows

test('who was in the last pass and is not in this one is to be asked for, once', async () => {
  expect(await list(range(9))).toBe(0)
  await settle()
  expect(await list([0, 1, 2, 4, 5, 7, 8])).toBe(2)
  expect(await unlisted()).toEqual([did(3), did(6)])
  await database.pool.query('delete from unlisted')
  expect(await list([0, 1, 2, 4, 5, 7, 8])).toBe(0)
  expect((await sightings()).map(({ pass }) => pass)).toEqual([2, 2, 2, 2])
})

test('a pass that another process goes on with has what the first had listed', async () => {
  await list(range(6))
  await settle()
  await state.readSource(source)
  const page = { source, host, isSighting: true, finished: false }
  await state.commitPage({ ...page, cursor: '2', repos: [0, 1].map((index) => ({ did: did(index), active: true })) })
  await state.end()
  state = await openState(database)
  expect(await list(range(5), { begun: 2, pageSize: 3 })).toBe(1)
  expect(await unlisted()).toEqual([did(5)])
})

test('a pass that came to no end says nothing, and the next one is compared with the last that did', async () => {
  await list(range(4))
  await settle()
  await state.readSource(source)
  const repos = [{ did: did(0), active: true }]
  await state.commitPage({ source, host, isSighting: true, finished: true, cursor: 'x', repos })
  await state.forgetSightings(source)
  expect(await unlisted()).toEqual([])
  expect(await list([0, 1, 3])).toBe(1)
  expect(await unlisted()).toEqual([did(2)])
})

test('who was not compared because of a kill is found missing a pass later', async () => {
  await list(range(4))
  await settle()
  await state.readSource(source)
  const repos = [0, 1, 2].map((index) => ({ did: did(index), active: true }))
  await state.commitPage({ source, host, isSighting: true, finished: true, cursor: undefined, repos })
  expect(await list([0, 1, 2])).toBe(1)
  expect(await unlisted()).toEqual([did(3)])
})

test('a host loses no accounts of others, nor any that are not done: those are asked for anyway', async () => {
  await list(range(5))
  await settle()
  await database.pool.query(`insert into hosts (origin) values ('https://other.example.com')`)
  await database.pool.query(`update repos set host_id = (select max(id) from hosts) where did = $1`, [did(3)])
  await database.pool.query(`update repos set state = 'retry' where did = $1`, [did(4)])
  expect(await list([0, 1])).toBe(1)
  expect(await unlisted()).toEqual([did(2)])
})

test('a relay leaves out accounts of every host', async () => {
  const of = 'relay https://relay.example.com'
  await list(range(4))
  await settle()
  await list(range(4), { of })
  expect(await list([1, 2], { of })).toBe(2)
  expect(await unlisted()).toEqual([did(0), did(3)])
})

test('of a listing that lost nearly everybody 20,000 are asked for in a pass, and the others after the next ones', async () => {
  const many = 50_000
  await list(range(many), { pageSize: 10_000 })
  await settle()
  const found: number[] = []
  for (let pass = 0; pass < 4; pass++) found.push(await list([0]))
  expect(found).toEqual([20_000, 20_000, 9_999, 0])
  expect(await unlisted()).toHaveLength(many - 1)
})
