import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from 'indexer/src/config.ts'
import { indexStatements } from 'indexer/src/schema-indexes.ts'
import { openTestDatabase, type TestDatabase } from 'indexer/src/testing-database.ts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compareRows, type TrueRecord } from './compare-rows.ts'
import { type AccountRole, listAllRecords, type RealNetwork, startRealNetwork } from './index.ts'
import { type RunResult, runIndexer } from './run-indexer.ts'

describe('a crawl of a real PDS with a real PLC directory', () => {
  let network: RealNetwork
  let database: TestDatabase
  let dataDir: string
  let result: RunResult

  beforeAll(async () => {
    network = await startRealNetwork()
    database = await openTestDatabase({ migrated: false })
    dataDir = await mkdtemp(join(tmpdir(), 'crawl-real-'))
    result = await crawl()
  }, 300_000)

  afterAll(async () => {
    await network?.close()
    await database?.close()
    await rm(dataDir, { recursive: true, force: true })
  })

  const crawl = () =>
    runIndexer([
      ...['run', '--no-live', '--relay', network.pdsUrl, '--plc', network.plcUrl, '--allow-private-hosts'],
      ...['--database', database.url, '--data-dir', dataDir, '--collections', '*', '--repo-memory', '1MiB'],
      ...['--log-json', '--log-level', 'debug'],
    ])

  const state = async (role: AccountRole) => {
    const dids = network.accounts.filter((account) => account.role === role).map(({ did }) => did)
    const text = `select did, state, status, records::int as records, handle from accounts where did = any($1) order by did`
    const { rows } = await database.pool.query(text, [dids])
    return rows.map(({ state, status, records }) => ({ state, status, records }))
  }

  test('ends with success', () => {
    expect({ exitCode: result.exitCode, errors: result.exitCode === 0 ? '' : result.stderr.slice(-3000) }).toEqual({
      exitCode: 0,
      errors: '',
    })
  })

  test('stores every record that listRecords shows, with its uri, its cid and every typed column', async () => {
    const config = await loadConfig({ collections: ['*'] })
    const records: TrueRecord[] = []
    for (const { did, role } of network.accounts) {
      if (role === 'deactivated' || role === 'takendown' || role === 'deleted') continue
      for await (const record of listAllRecords(network.pdsUrl, did)) records.push(record)
    }
    expect(records.length).toBeGreaterThan(5000)
    expect(await compareRows(database, config, records)).toEqual([])
    const { rows } = await database.pool.query('select * from rejects')
    expect(rows).toEqual([])
  })

  test('has built the secondary indexes', async () => {
    const text = 'select relname from pg_index join pg_class c on c.oid = indexrelid where indisvalid'
    const { rows } = await database.pool.query<{ relname: string }>(text)
    const wanted = indexStatements(await loadConfig({ collections: ['*'] }), database.schema)
    expect(rows.map((row) => row.relname)).toEqual(expect.arrayContaining(wanted.map((index) => index.name)))
  })

  test('knows who is deactivated or taken down, and stores nothing of theirs', async () => {
    expect(await state('deactivated')).toEqual(Array(2).fill({ state: 'gone', status: 'deactivated', records: 0 }))
    expect(await state('takendown')).toEqual(Array(2).fill({ state: 'gone', status: 'takendown', records: 0 }))
    expect(await state('deleted')).toEqual([]) // a PDS does not list them
  })

  test('is done with an empty repo, and with one that is larger than the memory it may have', async () => {
    expect(await state('empty')).toEqual([{ state: 'done', status: 'active', records: 0 }])
    expect(await state('big')).toEqual([{ state: 'done', status: 'active', records: 3500 }])
    const big = network.accounts.find(({ role }) => role === 'big')
    const logged = result.stderr
      .split('\n')
      .find((line) => line.includes(`"did":"${big?.did}"`) && line.includes('repo done'))
    expect(logged).toContain('"spilled":true')
  })

  test('keeps the handles of the accounts, and the originals of values that a column cannot hold', async () => {
    const { rows } = await database.pool.query<{ did: string; handle: string }>(
      `select did, handle from accounts where state = 'done'`,
    )
    const handles = new Map(network.accounts.map(({ did, handle }) => [did, handle]))
    expect(rows.filter(({ did, handle }) => handles.get(did) !== handle)).toEqual([])
    const codes = await database.pool.query<{ code: string }>('select distinct code from oddities order by code')
    expect(codes.rows.map(({ code }) => code)).toEqual([
      'CidMalformed',
      'DatetimeMalformed',
      'DatetimeOutOfRange',
      'DatetimeTooFine',
      'TextNul',
      'WrongType',
    ])
  })

  test('is nothing new the second time', async () => {
    const before = await database.pool.query('select did, state::text, rev, indexed_at from repos order by did')
    expect((await crawl()).exitCode).toBe(0)
    expect(
      (await database.pool.query('select did, state::text, rev, indexed_at from repos order by did')).rows,
    ).toEqual(before.rows)
  }, 60_000)
})
