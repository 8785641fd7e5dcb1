import { expect, test, vi } from 'vitest'
import { openState } from './state.ts'
import { openTestDatabase } from './testing-database.ts'

const page = (repos: { did: string; rev?: string; active?: boolean; status?: string }[], cursor = 'c1') => ({
  source: 'relay',
  cursor,
  repos: repos.map((repo) => ({ active: true, ...repo })),
  finished: false,
})

const rev = '3kaaaaaaaaa22'

test('a repo goes from a listing to a claim, and the states add up at each step', async () => {
  await using database = await openTestDatabase()
  const state = await openState(database)
  expect(await state.readSource('relay')).toMatchObject({ cursor: undefined, pages: 0 })
  const dids = ['did:plc:c', 'did:plc:a', 'did:plc:b', 'did:plc:a']
  const outcome = await state.commitPage(
    page([...dids.map((did) => ({ did })), { did: 'did:plc:x', active: false, status: 'takendown' }]),
  )
  expect(outcome).toEqual({ discovered: 4, outdated: 0, retired: 0, revived: 0, doubted: 0, claimed: 0 })
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
  await one.commitPage({ ...page([{ did: 'did:plc:a' }], 'v1 10:1'), finished: true })
  const two = await openState(database)
  expect(await two.wasListed('relay')).toBe(true)
  expect(await two.wasListed('relay', 'v1')).toBe(true)
  expect(await two.wasListed('relay', 'v2')).toBe(false)
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

test('a process gives back only what is claimed under its own tokens, and claims nothing at a host that it has lost', async () => {
  await using database = await openTestDatabase()
  const state = await openState(database)
  await state.readSource('relay')
  await state.commitPage({ ...page([{ did: 'did:plc:a' }, { did: 'did:plc:b' }]), host: 'https://pds.test' })
  const hostId = (await state.hostsWithWork())[0]?.hostId ?? 0
  const [claim] = await state.claimRepos(hostId, 1)
  if (claim === undefined) throw new Error('a claim')
  await database.pool.query('update repos set claim = claim + 1000 where id = $1', [claim.id])
  await state.releaseClaims([claim])
  expect(await state.readBalance()).toMatchObject({ working: 1, waiting: 1 })
  await database.pool.query('delete from host_leases') // as whoever takes it for dead does
  expect(await state.claimRepos(hostId, 1)).toEqual([])
  expect(await state.readBalance()).toMatchObject({ working: 1, waiting: 1 })
  await state.end()
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
  expect(second).toEqual({ discovered: 0, outdated: 1, retired: 1, revived: 0, doubted: 0, claimed: 0 })
  expect(await state.readBalance()).toMatchObject({ discovered: 4, done: 2, stale: 1, gone: 1 })
  const hidden = await database.pool.query(`select did, status from hidden_repos h join repos r on r.id = h.repo`)
  expect(hidden.rows).toEqual([{ did: 'did:plc:d', status: 'deactivated' }])
  const third = await state.commitPage(page([{ did: 'did:plc:d', rev: revs.old }]))
  expect(third).toMatchObject({ revived: 1 })
  expect(await state.readBalance()).toMatchObject({ discovered: 4, done: 3, stale: 1, gone: 0 })
  expect((await database.pool.query(`select * from hidden_repos where repo > 0`)).rows).toEqual([])
  await state.end()
})

test('an account that a second host lists stays where it is until its DID document decides', async () => {
  await using database = await openTestDatabase()
  const state = await openState(database)
  const dids = ['done', 'liar', 'new', 'gone'].map((name) => ({ did: `did:plc:${name}` }))
  for (const source of ['old', 'new', 'liar']) await state.readSource(source)
  await state.commitPage({ ...page(dids), source: 'old', host: 'https://old.test' })
  await database.pool.query(`update repos set state = 'done', rev = $1 where did <> 'did:plc:new'`, [rev])
  await database.pool.query(`update repos set resolved_at = now() where did = 'did:plc:new'`)
  await database.pool.query(`update repos set state = 'gone' where did = 'did:plc:gone'`)
  await database.pool.query(`insert into hidden_repos select id from repos where state = 'gone'`)
  await database.pool.query(
    `insert into counters values ('repos/waiting', 999, -3), ('repos/done', 999, 2), ('repos/gone', 999, 1)`,
  )
  const before = await database.pool.query('select * from repos order by did')

  const claimed = await state.commitPage({ ...page(dids), source: 'new', host: 'https://new.test' })
  expect(claimed).toMatchObject({ claimed: 4, discovered: 0 })
  expect((await database.pool.query('select * from repos order by did')).rows).toEqual(before.rows)
  const claims = await state.takeHostClaims(0, { limit: 10, isWeb: false })
  expect(claims.map(({ did }) => did).sort()).toEqual(dids.map(({ did }) => did).sort())
  const decisions = claims.map((claim) => {
    const host = claim.did === 'did:plc:liar' ? 'https://old.test' : 'https://new.test'
    return { claim, identity: { host, signingKey: 'did:key:zQ', handle: undefined } }
  })
  expect(await state.decideHostClaims(decisions)).toBe(3)
  const { rows } = await database.pool.query(
    'select did, state, origin, stale_reason as why from repos r join hosts h on h.id = r.host_id order by did',
  )
  expect(rows).toEqual([
    { did: 'did:plc:done', state: 'stale', origin: 'https://new.test', why: 'moved' },
    { did: 'did:plc:gone', state: 'stale', origin: 'https://new.test', why: 'moved' },
    { did: 'did:plc:liar', state: 'done', origin: 'https://old.test', why: null },
    { did: 'did:plc:new', state: 'waiting', origin: 'https://new.test', why: null },
  ])
  expect(await state.readBalance()).toMatchObject({ discovered: 4, waiting: 1, stale: 2, done: 1, gone: 0 })
  expect((await database.pool.query('select * from hidden_repos where repo > 0')).rows).toEqual([])

  // What was refuted is not asked again soon, and what the old host says now counts for nothing.
  expect(await state.commitPage({ ...page(dids), source: 'new', host: 'https://new.test' })).toMatchObject({
    claimed: 0,
  })
  expect(await state.takeHostClaims(0, { limit: 10, isWeb: false })).toEqual([])
  const left = page(dids.map(({ did }) => ({ did, active: false, status: 'deactivated' })))
  expect(await state.commitPage({ ...left, source: 'old', host: 'https://old.test' })).toMatchObject({ retired: 1 })
  expect(await state.readBalance()).toMatchObject({ waiting: 1, stale: 2, gone: 1 })
  await state.end()
})

test('what a host that is not theirs says of accounts neither ends nor takes them, in whatever order hosts are listed', async () => {
  await using database = await openTestDatabase()
  const state = await openState(database)
  for (const source of ['relay', 'liar', 'home']) await state.readSource(source)
  const inactive = (dids: string[]) => page(dids.map((did) => ({ did, active: false, status: 'takendown' })))
  await state.commitPage({ ...page([{ did: 'did:plc:listed' }]), source: 'relay' })
  await state.commitPage({
    ...inactive(['did:plc:listed', 'did:plc:first']),
    source: 'liar',
    host: 'https://liar.test',
  })
  expect(await state.readBalance()).toMatchObject({ waiting: 1, gone: 1 })

  // The relay lists the other as active: its host is what the document says, not the one that called it inactive.
  await state.commitPage({ ...page([{ did: 'did:plc:first' }]), source: 'relay' })
  expect((await state.takeUnresolved(9)).map(({ did }) => did)).toEqual(['did:plc:listed', 'did:plc:first'])

  // Without a relay: its own host lists it, and the document decides.
  await state.commitPage({ ...inactive(['did:plc:second']), source: 'liar', host: 'https://liar.test' })
  await state.commitPage({ ...page([{ did: 'did:plc:second' }]), source: 'home', host: 'https://home.test' })
  expect((await state.takeUnresolved(9)).map(({ did }) => did)).toEqual(['did:plc:second'])

  // Believed at first, with --verify structure: its own host lists it, and the document decides.
  await state.commitPage({ ...page([{ did: 'did:plc:third' }]), source: 'liar', host: 'https://liar.test' })
  await state.commitPage({ ...page([{ did: 'did:plc:third' }]), source: 'home', host: 'https://home.test' })
  expect((await state.takeUnresolved(9)).map(({ did }) => did)).toEqual(['did:plc:third'])
  expect(await state.readBalance()).toMatchObject({ discovered: 4, waiting: 4 })
  expect(await state.takeHostClaims(0, { limit: 9, isWeb: false })).toEqual([])
  await state.end()
})

test('a host that is not trusted says which accounts there are, not where they are', async () => {
  await using database = await openTestDatabase()
  const state = await openState(database)
  for (const source of ['a', 'b']) await state.readSource(source)
  const listed = page([{ did: 'did:plc:x' }])
  await state.commitPage({ ...listed, source: 'a', host: 'https://a.test', hostIsTrusted: false })
  await state.commitPage({ ...listed, source: 'b', host: 'https://b.test', hostIsTrusted: false })
  expect((await database.pool.query('select state, host_id from repos')).rows).toEqual([
    { state: 'waiting', host_id: null },
  ])
  expect(await state.takeHostClaims(0, { limit: 9, isWeb: false })).toEqual([])
  await state.end()
})

test('a host that claims the accounts of others costs a bounded number of questions a day', async () => {
  await using database = await openTestDatabase()
  const state = await openState(database)
  for (const source of ['home', 'liar']) await state.readSource(source)
  const pages = Array.from({ length: 11 }, (_, at) =>
    page(Array.from({ length: 2000 }, (_, index) => ({ did: `did:plc:${at}x${index}` }))),
  )
  for (const listed of pages) await state.commitPage({ ...listed, source: 'home', host: 'https://home.test' })
  await database.pool.query('update repos set resolved_at = now()')
  let claimed = 0
  for (const listed of pages) {
    claimed += (await state.commitPage({ ...listed, source: 'liar', host: 'https://liar.test' })).claimed
  }
  expect(claimed).toBe(20_000)
  await database.pool.query(`update host_claims set refuted_at = now() - interval '2 days'`)
  const later = await state.commitPage({
    ...page([{ did: 'did:plc:10x1' }]),
    source: 'liar',
    host: 'https://liar.test',
  })
  expect(later.claimed).toBe(1)
  await state.end()
})

test('an account that is gone for another reason than before shows the new one', async () => {
  await using database = await openTestDatabase()
  const state = await openState(database)
  await state.readSource('relay')
  const gone = (status: string) => page([{ did: 'did:plc:a', active: false, status }])
  for (const [status, retired] of [
    ['deactivated', 0],
    ['deactivated', 0],
    ['takendown', 1],
  ] as const) {
    expect(await state.commitPage(gone(status))).toMatchObject({ retired })
    expect((await database.pool.query('select state, status from repos')).rows).toEqual([{ state: 'gone', status }])
  }
  expect(await state.readBalance()).toMatchObject({ discovered: 1, gone: 1 })
  await state.end()
})

test('of two listings at the same moment neither is lost: one inserts the account, the other meets it', async () => {
  await using database = await openTestDatabase()
  const state = await openState(database)
  const names = Array.from({ length: 200 }, (_, index) => ({ did: `did:plc:${index}` }))
  for (const source of ['old', 'new']) await state.readSource(source)
  const left = page(names.map(({ did }) => ({ did, active: false, status: 'deactivated' })))
  const come = page(names)
  const [, outcome] = await Promise.all([
    state.commitPage({ ...left, source: 'old', host: 'https://old.test' }),
    state.commitPage({ ...come, source: 'new', host: 'https://new.test' }),
  ])
  expect(outcome.discovered + outcome.doubted).toBe(200)
  expect(await state.readBalance()).toMatchObject({ discovered: 200, waiting: 200 })
  await state.end()
})

test('repos that are committed behind others, of another listing or process, are found when there is nothing else to do', async () => {
  await using database = await openTestDatabase()
  const state = await openState(database)
  for (const source of ['relay', 'host']) await state.readSource(source)
  await state.commitPage({ ...page([{ did: 'did:plc:first' }]), source: 'host', host: 'https://pds.test' })
  const late = await database.pool.connect()
  await late.query('begin')
  await late.query(
    `insert into repos (did, host_id) values ('did:plc:behind', (select id from hosts)), ('did:plc:nowhere', null)`,
  )
  await state.commitPage(page([{ did: 'did:plc:ahead' }]))
  const claimed: string[] = []
  const unresolved: string[] = []
  const look = async () => {
    for (const { hostId } of await state.hostsWithWork())
      claimed.push(...(await state.claimRepos(hostId, 10)).map(({ did }) => did))
    unresolved.push(...(await state.takeUnresolved(10)).map(({ did }) => did))
  }
  for (let looks = 0; looks < 3; looks++) await look()
  expect([claimed, unresolved]).toEqual([['did:plc:first'], ['did:plc:ahead']])
  await late.query('commit')
  late.release()
  await vi.waitFor(async () => {
    await look()
    expect([claimed, unresolved]).toEqual([
      ['did:plc:first', 'did:plc:behind'],
      ['did:plc:ahead', 'did:plc:nowhere'],
    ])
  }, 8_000) // they were behind for as good as no time: from the front, whatever is found, it takes 15 s
  await state.end()
})
