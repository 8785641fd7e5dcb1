// A config that was left for another one and comes back: its version is the one from before, but the tables went on without it.
import { expect, test } from 'vitest'
import type { Config } from './config.ts'
import { resolveConfig } from './config-resolve.ts'
import { outdateRepos } from './outdate.ts'
import { applySchema } from './schema.ts'
import { openState, type State } from './state.ts'
import {
  chunksOf,
  counterErrors,
  finish,
  notes,
  openTestCrawl,
  revs,
  type TestCrawl,
  testConfig,
} from './testing-database-repos.ts'
import { openWriter, type Writer } from './write.ts'

const records = notes(3)
const others = { 'test.app.like': { columns: { subject: 'text' } }, 'test.other.*': 'json' }
const withoutColumn = await resolveConfig({ collections: { 'test.app.note': { columns: {} }, ...others } })
const withoutTable = await resolveConfig({ collections: others })

/** As an indexer that starts with this config, with what it found to be stale. */
async function start(crawl: TestCrawl, config: Config): Promise<{ state: State; writer: Writer }> {
  const { database } = crawl
  await applySchema(database, { config })
  const state = await openState(database)
  await outdateRepos(database, { config, process: state.process })
  const writer = openWriter({ database, config, process: () => state.process, limits: { batchMaxMs: 1 } })
  return { state, writer }
}

async function stop({ state, writer }: { state: State; writer: Writer }): Promise<void> {
  await writer.close()
  await state.end()
}

/** One repo with three notes, written and put down under the test config. */
async function openFilled(state: string): Promise<TestCrawl> {
  const crawl = await openTestCrawl(1)
  const [claim] = crawl.claims
  if (claim === undefined) throw new Error('one repo')
  const writer = openWriter({
    ...{ database: crawl.database, config: testConfig, process: () => crawl.state.process },
    limits: { batchMaxMs: 1 },
  })
  await writer.add(finish(claim, { records }))
  await stop({ state: crawl.state, writer })
  await crawl.database.pool.query(`update repos set state = $1, retry_at = now()`, [state])
  await crawl.database.pool.query(`insert into counters values ('repos/done', 98, -1), ($1, 99, 1)`, [`repos/${state}`])
  return crawl
}

test.each([
  ['done', 'small'],
  ['done', 'large'],
  ['retry', 'small'],
] as const)('a column that comes back is filled again, in a repo that was %s, by a %s write', async (state, way) => {
  const { database, ...crawl } = await openFilled(state)
  await using _database = database
  await stop(await start({ database, ...crawl }, withoutColumn))
  const again = await start({ database, ...crawl }, testConfig)
  await again.state.hostsWithWork()
  const [claim] = await again.state.claimRepos(crawl.hostId, 1)
  if (claim === undefined) throw new Error('the repo is not to be fetched again')
  const fetched = finish(claim, { rev: revs[1], records })
  if (way === 'small') await again.writer.add(fetched)
  else await again.writer.addLarge(claim, chunksOf(claim.id, records), () => fetched)
  const { rows } = await database.pool.query('select text from note order by rkey')
  expect(rows).toEqual(records.map(({ text }) => ({ text })))
  expect(await counterErrors(database)).toEqual([])
  await stop(again)
})

test('the rows of an account that is deleted go from tables that the config has left, too', async () => {
  const { database, ...crawl } = await openFilled('done')
  await using _database = database
  const [{ did = '', host = '' } = {}] = crawl.claims
  const source = `host ${host}`
  const list = (state: State, account: { active: boolean; status?: string }) =>
    state.commitPage({ source, cursor: undefined, repos: [{ did, ...account }], finished: true, host })
  const meanwhile = await start({ database, ...crawl }, withoutTable)
  await meanwhile.state.readSource(source)
  await list(meanwhile.state, { active: false, status: 'deleted' })
  expect(await meanwhile.writer.settleGone('hide')).toMatchObject({ removed: 1 })
  await stop(meanwhile)

  const again = await start({ database, ...crawl }, testConfig)
  expect((await database.pool.query('select * from note')).rows).toEqual([])
  expect(await counterErrors(database)).toEqual([])
  await again.state.readSource(source)
  await list(again.state, { active: true })
  await again.state.hostsWithWork()
  const [claim] = await again.state.claimRepos(crawl.hostId, 1)
  if (claim === undefined) throw new Error('the account is not to be fetched again')
  expect(await again.writer.add(finish(claim, { rev: revs[1], records }))).toBe('committed')
  await stop(again)
})

test('a table that the config has left may be dropped: accounts are removed all the same', async () => {
  const { database, ...crawl } = await openFilled('done')
  await using _database = database
  const [{ did = '', host = '' } = {}] = crawl.claims
  const source = `host ${host}`
  const meanwhile = await start({ database, ...crawl }, withoutTable)
  await database.pool.query('drop table note_rows cascade')
  await meanwhile.state.readSource(source)
  const repos = [{ did, active: false, status: 'deleted' }]
  await meanwhile.state.commitPage({ source, cursor: undefined, repos, finished: true, host })
  expect(await meanwhile.writer.settleGone('hide')).toMatchObject({ removed: 1 })
  await stop(meanwhile)
})
