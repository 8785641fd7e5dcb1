// Two transactions that mean the same repo at the same moment: whichever comes second, only repos that are gone are hidden.
import { setTimeout as sleep } from 'node:timers/promises'
import type { PoolClient } from 'pg'
import { expect, test } from 'vitest'
import { CounterChanges } from './counters.ts'
import { moveRepos } from './state-host-claims.ts'
import { applyVerdict, type Change } from './state-verdicts.ts'
import { untilLockWait } from './testing-database.ts'
import {
  counterErrors,
  finish,
  notes,
  openTestCrawl,
  revs,
  type TestCrawl,
  testConfig,
} from './testing-database-repos.ts'
import { openWriter, type Writer } from './write.ts'

interface DoneRepo extends TestCrawl {
  id: number
  did: string
  writer: Writer
}

async function openDoneRepo(): Promise<DoneRepo> {
  const crawl = await openTestCrawl(1)
  const { database, state, claims } = crawl
  const [claim] = claims
  if (claim === undefined) throw new Error('one repo')
  const writer = openWriter({ database, config: testConfig, process: () => state.process, limits: { batchMaxMs: 1 } })
  await writer.add(finish(claim, { records: notes(2) }))
  return { ...crawl, id: claim.id, did: claim.did, writer }
}

type Act = (client: PoolClient, changes: CounterChanges) => Promise<unknown>

const listed =
  (verdict: Change, { did, hostId }: DoneRepo, status?: string): Act =>
  (client, changes) =>
    applyVerdict(client, {
      verdict,
      repos: [{ did, rev: revs[0], active: status === undefined, ...(status && { status }) }],
      hostOf: () => hostId,
      homeId: undefined,
      changes,
    })

const moved =
  ({ id }: DoneRepo): Act =>
  (client, changes) =>
    moveRepos(client, [{ repo: id, host: 'https://new.test', signingKey: 'did:key:zQ', handle: undefined }], changes)

/** The second begins when the first has done its part, and has to wait for its commit. */
async function oneAfterTheOther({ database }: DoneRepo, first: Act, second: Act): Promise<void> {
  const clients = await Promise.all([database.pool.connect(), database.pool.connect()])
  const [a, b] = clients
  const changesOf = { a: new CounterChanges(), b: new CounterChanges() }
  try {
    for (const client of clients) await client.query('begin')
    await first(a, changesOf.a)
    const { rows } = await b.query<{ pid: number }>('select pg_backend_pid() as pid')
    const done = second(b, changesOf.b)
    await isBlocked(database, rows[0]?.pid)
    await changesOf.a.write(a, 901)
    await a.query('commit')
    await done
    await changesOf.b.write(b, 902)
    await b.query('commit')
  } finally {
    for (const client of clients) client.release()
  }
}

async function isBlocked({ pool }: DoneRepo['database'], pid: number | undefined): Promise<void> {
  for (;;) {
    const { rows } = await pool.query<{ by: number[] }>('select pg_blocking_pids($1) as by', [pid])
    if (rows[0]?.by.length) return
    await sleep(5)
  }
}

const hiddenIds = async ({ database }: DoneRepo): Promise<number[]> =>
  (await database.pool.query<{ repo: string }>('select repo from hidden_repos where repo > 0')).rows.map(({ repo }) =>
    Number(repo),
  )

const stateOf = async ({ database, id }: DoneRepo): Promise<string | undefined> =>
  (await database.pool.query<{ state: string }>('select state from repos where id = $1', [id])).rows[0]?.state

test.each([
  ['its document names another host', moved, 'stale'],
  ['a listing brings it back', (repo: DoneRepo) => listed('revived', repo), 'done'],
] as const)('a repo that is being retired when %s is hidden no more', async (_, second, state) => {
  await using repo = await openDoneRepo()
  await oneAfterTheOther(repo, listed('retired', repo, 'deactivated'), second(repo))
  expect(await stateOf(repo)).toBe(state)
  expect(await hiddenIds(repo)).toEqual([])
  expect(await counterErrors(repo.database)).toEqual([])
  await repo.writer.close()
})

test('what its old host says of a repo that is moving counts no more', async () => {
  await using repo = await openDoneRepo()
  await oneAfterTheOther(repo, moved(repo), listed('retired', repo, 'deactivated'))
  expect(await stateOf(repo)).toBe('stale')
  expect(await hiddenIds(repo)).toEqual([])
  expect(await counterErrors(repo.database)).toEqual([])
  await repo.writer.close()
})

test('a repo that is being brought back when what is gone is hidden is not hidden', async () => {
  await using repo = await openDoneRepo()
  const { database, writer } = repo
  await database.pool.query(`update repos set state = 'gone', status = 'deactivated'`)
  await database.pool.query(`insert into counters values ('repos/done', 999, -1), ('repos/gone', 999, 1)`)
  const client = await database.pool.connect()
  try {
    await client.query('begin')
    const changes = new CounterChanges()
    await listed('revived', repo)(client, changes)
    const settled = writer.settleGone('hide')
    await untilLockWait(database)
    await changes.write(client, 901)
    await client.query('commit')
    expect(await settled).toMatchObject({ hidden: 0 })
  } finally {
    client.release()
  }
  expect(await hiddenIds(repo)).toEqual([])
  expect(await stateOf(repo)).toBe('done')
  await writer.close()
})
