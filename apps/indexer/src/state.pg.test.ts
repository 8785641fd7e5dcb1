import { expect, test } from 'vitest'
import { openState } from './state.ts'
import { openTestDatabase } from './testing-database.ts'

const page = (repos: { did: string; rev?: string; active?: boolean; status?: string }[], cursor = 'c1') => ({
  source: 'relay',
  cursor,
  repos: repos.map((repo) => ({ active: true, ...repo })),
  finished: false,
})

test('a repo goes from a listing to a claim, and the states add up at each step', async () => {
  await using database = await openTestDatabase()
  const state = await openState(database)
  expect(await state.readSource('relay')).toMatchObject({ cursor: undefined, pages: 0 })
  const dids = ['did:plc:c', 'did:plc:a', 'did:plc:b', 'did:plc:a']
  const outcome = await state.commitPage(
    page([...dids.map((did) => ({ did })), { did: 'did:plc:x', active: false, status: 'takendown' }]),
  )
  expect(outcome).toEqual({ discovered: 4, outdated: 0, retired: 0, revived: 0, moved: 0 })
  expect(await state.readBalance()).toMatchObject({ discovered: 4, waiting: 3, gone: 1 })

  const unresolved = await state.takeUnresolved(10)
  expect(unresolved.map((repo) => repo.did)).toEqual(['did:plc:a', 'did:plc:b', 'did:plc:c'])
  expect(await state.takeUnresolved(10)).toEqual([])
  const [a, b, c] = unresolved
  if (!a || !b || !c) throw new Error('three repos')
  await state.saveResolved(
    [a, b].map(({ id }) => ({ id, origin: 'https://pds.test', signingKey: 'did:key:zQ', handle: `h${id}.test` })),
  )
  await state.saveUnresolved([
    { id: c.id, class: 'retry', code: 'PlcUnavailable', message: 'down', retryAt: new Date(Date.now() - 1000) },
  ])
  expect(await state.readBalance()).toMatchObject({ discovered: 4, waiting: 2, retry: 1, gone: 1 })
  expect(await state.takeUnresolved(10)).toEqual([{ ...c, attempts: 1 }])

  const [host] = await state.hostsWithWork()
  expect(host).toMatchObject({ origin: 'https://pds.test' })
  const claims = await state.claimRepos(host?.hostId ?? 0, 1)
  expect(claims).toMatchObject([{ did: 'did:plc:a', rev: null, host: 'https://pds.test', signingKey: 'did:key:zQ' }])
  const more = await state.claimRepos(host?.hostId ?? 0, 10)
  expect(more).toMatchObject([{ did: 'did:plc:b' }])
  expect(await state.claimRepos(host?.hostId ?? 0, 10)).toEqual([])
  expect(await state.readBalance()).toMatchObject({ discovered: 4, working: 2, retry: 1, gone: 1 })

  expect(
    await state.retryRepos(claims.map((claim) => ({ claim, code: 'HostError', message: '502', retryAt: new Date() }))),
  ).toBe(1)
  expect(await state.goneRepos(more.map((claim) => ({ claim, code: 'RepoDeactivated', message: 'gone' })))).toBe(1)
  expect(await state.goneRepos(more.map((claim) => ({ claim, code: 'RepoDeactivated', message: 'again' })))).toBe(0)
  expect(await state.readBalance()).toMatchObject({ discovered: 4, retry: 2, gone: 2, working: 0 })
  await state.end()
})

test('a cursor is not there when the repos of its page are not', async () => {
  await using database = await openTestDatabase()
  const state = await openState(database)
  await state.readSource('relay')
  const bad = page([{ did: 'did:plc:a' }, { did: 'did:plc:\0' }])
  await expect(state.commitPage(bad)).rejects.toThrow()
  expect(await state.readSource('relay')).toMatchObject({ cursor: undefined, pages: 0 })
  expect(await state.readBalance()).toMatchObject({ discovered: 0, waiting: 0 })
  await state.end()
})

test('a second process cannot move a cursor that it has not read', async () => {
  await using database = await openTestDatabase()
  const [one, two] = [await openState(database), await openState(database)]
  await one.readSource('relay')
  await two.readSource('relay')
  await one.commitPage(page([{ did: 'did:plc:a' }]))
  await expect(two.commitPage(page([{ did: 'did:plc:b' }], 'c9'))).rejects.toMatchObject({ code: 'SourceTaken' })
  expect(await two.readSource('relay')).toMatchObject({ cursor: 'c1', pages: 1 })
  await one.end()
  await two.end()
})

test('a host belongs to one process until that process ends', async () => {
  await using database = await openTestDatabase()
  const [one, two] = [await openState(database), await openState(database)]
  await one.readSource('relay')
  await one.commitPage({
    ...page(['a', 'b', 'c'].map((name) => ({ did: `did:plc:${name}` }))),
    host: 'https://pds.test',
  })
  const [host] = await one.hostsWithWork()
  const hostId = host?.hostId ?? 0
  expect(await one.claimRepos(hostId, 2)).toHaveLength(2)
  expect(await two.hostsWithWork()).toEqual([])
  expect(await two.claimRepos(hostId, 2)).toEqual([])
  await one.end()
  expect(await two.readBalance()).toMatchObject({ discovered: 3, waiting: 3, working: 0 })
  expect(await two.claimRepos(hostId, 9)).toHaveLength(3)
  await two.end()
})

test('processes with different egresses may ask the same host, and never for the same repo', async () => {
  await using database = await openTestDatabase()
  const [one, two] = [await openState(database), await openState(database, { egress: 'b' })]
  await one.readSource('relay')
  const repos = ['a', 'b', 'c'].map((name) => ({ did: `did:plc:${name}` }))
  await one.commitPage({ ...page(repos), host: 'https://pds.test' })
  const hostId = (await one.hostsWithWork())[0]?.hostId ?? 0
  const claims = [await one.claimRepos(hostId, 2), await two.claimRepos(hostId, 2)].flat()
  expect(claims.map(({ did }) => did).sort()).toEqual(repos.map(({ did }) => did))
  expect(await two.hostsWithWork()).toEqual([])
  await one.end()
  await two.end()
})

test('a host that is given away is of another process, and a process that has none is known', async () => {
  await using database = await openTestDatabase()
  const [one, two] = [await openState(database), await openState(database)]
  await one.readSource('relay')
  await one.commitPage({ ...page([{ did: 'did:plc:a' }, { did: 'did:plc:b' }]), host: 'https://pds.test' })
  const hostId = (await one.hostsWithWork())[0]?.hostId ?? 0
  expect(await one.leaseHosts([hostId])).toMatchObject([{ hostId, origin: 'https://pds.test' }])
  expect(await two.leaseHosts([hostId])).toEqual([])
  expect(await one.hostsWithWork()).toMatchObject([{ hostId, ours: true }])
  await two.setIdle(true)
  expect([await one.idlePeers(), await two.idlePeers()]).toEqual([1, 0])
  await one.dropHosts([hostId])
  expect(await two.hostsWithWork()).toMatchObject([{ hostId, ours: false }])
  expect(await two.leaseHosts([hostId])).toHaveLength(1)
  await two.setIdle(false)
  expect(await one.idlePeers()).toBe(0)
  expect(await one.claimRepos(hostId, 9)).toEqual([])
  await one.end()
  await two.end()
})

test('a source that was listed since the first of the living processes began is not listed again', async () => {
  await using database = await openTestDatabase()
  const one = await openState(database)
  expect(await one.wasListed('relay')).toBe(false)
  await one.readSource('relay')
  await one.commitPage({ ...page([{ did: 'did:plc:a' }]), finished: true })
  const two = await openState(database)
  expect(await two.wasListed('relay')).toBe(true)
  await one.end()
  expect(await two.wasListed('relay')).toBe(false)
  await two.end()
})

test('claims of a process that is gone or silent are given back, and its tokens are void', async () => {
  await using database = await openTestDatabase()
  const dead = await openState(database)
  await dead.readSource('relay')
  await dead.commitPage({ ...page([{ did: 'did:plc:a' }]), host: 'https://pds.test' })
  const hostId = (await dead.hostsWithWork())[0]?.hostId ?? 0
  const [lost] = await dead.claimRepos(hostId, 1)
  if (!lost) throw new Error('one claim')
  await database.pool.query(`update processes set beat_at = now() - interval '1 hour'`)
  const alive = await openState(database)
  const [taken] = await alive.claimRepos(hostId, 1)
  expect(taken?.did).toBe('did:plc:a')
  expect(taken?.claim).not.toBe(lost.claim)
  expect(await dead.failRepos([{ claim: lost, code: 'HostError', message: 'late' }])).toBe(0)
  expect(await dead.claimRepos(hostId, 1)).toEqual([])
  await alive.end()
  await dead.end()
})

test('a later listing changes only what moved', async () => {
  await using database = await openTestDatabase()
  const state = await openState(database)
  await state.readSource('relay')
  const revs = { old: '3kaaaaaaaaa22', new: '3kbbbbbbbbb22', future: '7zzzzzzzzzz22' }
  await state.commitPage(page(['a', 'b', 'c', 'd'].map((name) => ({ did: `did:plc:${name}` }))))
  await database.pool.query(`update repos set state = 'done', rev = $1`, [revs.old])
  await database.pool.query(`insert into counters values ('repos/waiting', 999, -4), ('repos/done', 999, 4)`)
  const second = await state.commitPage(
    page([
      { did: 'did:plc:a', rev: revs.old },
      { did: 'did:plc:b', rev: revs.new },
      { did: 'did:plc:c', rev: revs.future },
      { did: 'did:plc:d', active: false, status: 'deactivated' },
    ]),
  )
  expect(second).toEqual({ discovered: 0, outdated: 1, retired: 1, revived: 0, moved: 0 })
  expect(await state.readBalance()).toMatchObject({ discovered: 4, done: 2, stale: 1, gone: 1 })
  const hidden = await database.pool.query(`select did, status from hidden_repos h join repos r on r.id = h.repo`)
  expect(hidden.rows).toEqual([{ did: 'did:plc:d', status: 'deactivated' }])
  const third = await state.commitPage(page([{ did: 'did:plc:d', rev: revs.old }]))
  expect(third).toMatchObject({ revived: 1 })
  expect(await state.readBalance()).toMatchObject({ discovered: 4, done: 3, stale: 1, gone: 0 })
  expect((await database.pool.query(`select * from hidden_repos where repo > 0`)).rows).toEqual([])
  await state.end()
})

test('a migrated account is believed where it is active, and resolved again', async () => {
  await using database = await openTestDatabase()
  const state = await openState(database)
  for (const source of ['old', 'new']) await state.readSource(source)
  const listed = { ...page([{ did: 'did:plc:a' }]) }
  await state.commitPage({ ...listed, source: 'old', host: 'https://old.test' })
  await state.commitPage({ ...listed, source: 'new', host: 'https://new.test' })
  expect((await database.pool.query(`select state, host_id from repos`)).rows).toEqual([
    { state: 'waiting', host_id: null },
  ])
  const [repo] = await state.takeUnresolved(1)
  await state.saveResolved([{ id: repo?.id ?? 0, origin: 'https://new.test', signingKey: 'did:key:zQ' }])
  const left = page([{ did: 'did:plc:a', active: false, status: 'deactivated' }])
  expect(await state.commitPage({ ...left, source: 'old', host: 'https://old.test' })).toMatchObject({ retired: 0 })
  expect(await state.readBalance()).toMatchObject({ discovered: 1, waiting: 1 })
  await state.end()
})
