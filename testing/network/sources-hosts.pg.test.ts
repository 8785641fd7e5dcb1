// What hosts do that list accounts that are not theirs, misbehave, or are listed when a kill comes: nobody else may pay for it.
import type { DemoAccount } from 'indexer/demo/population.ts'
import { json } from 'indexer/demo/server.ts'
import { describe, expect, test } from 'vitest'
import { compareWithTruth, readOutcomes } from './crawl-fake.ts'
import { startIndexer } from './run-indexer.ts'
import { active, asked, crawl, database, expectDone, folder, homesOf, network } from './sources-fake.ts'

describe.each(['full', 'structure'] as const)('two hosts list one account, --verify %s', (verify) => {
  test('after a migration the new host has it, whichever was listed before', async () => {
    const moving = active().filter(({ index }) => index % 4 === 0)
    const [early, late] = [moving.slice(0, 5), moving.slice(5)]
    const move = (accounts: DemoAccount[]) => {
      for (const account of accounts) network.migrate(account, (account.pds + 2) % network.pdsUrls.length)
    }
    move(early)
    expect((await crawl(['hosts'], { verify })).exitCode).toBe(0)
    await expectDone(active())
    move(late)
    expect((await crawl(['hosts'], { verify })).exitCode).toBe(0)
    await expectDone(active())
    const homes = await homesOf()
    for (const { did, pds } of moving) expect(homes.get(did)).toBe(network.pdsUrls[(pds + 2) % network.pdsUrls.length])
  })

  test.each(['steals accounts', 'ends accounts'] as const)(
    'a host that lists the accounts of others, "%s", changes nothing of theirs, before or after they are indexed',
    async (fault) => {
      network.hostListingFault(0, fault)
      const liarAsked = Promise.withResolvers<void>()
      const askedAt = new Map<string | null, number[]>()
      network.intercept = async (request, role) => {
        if (role.kind !== 'pds') return undefined
        const did = request.params.get('did')
        if (request.method === 'com.atproto.sync.getRepo') askedAt.set(did, [...(askedAt.get(did) ?? []), role.index])
        // Where listings are believed the liar comes first, as far as it is up to us.
        if (request.method === 'com.atproto.sync.listRepos' && verify === 'structure') {
          if (role.index === 0) liarAsked.resolve()
          await liarAsked.promise
        }
        return undefined
      }
      for (let run = 0; run < 2; run++) {
        expect((await crawl(['hosts'], { verify })).exitCode).toBe(0)
        await expectDone(active())
        const homes = await homesOf()
        for (const { did, pds } of active()) expect(homes.get(did)).toBe(network.pdsUrls[pds])
        // Its own host is asked once in both runs; the liar until its attempts are used up, when it was believed.
        for (const { did, pds } of active()) {
          const { home, others = [] } = Object.groupBy(askedAt.get(did) ?? [], (at) => (at === pds ? 'home' : 'others'))
          expect(home, did).toEqual([pds])
          expect([[], [0], [0, 0], [0, 0, 0]], did).toContainEqual(others)
        }
      }
    },
  )
})

describe('hosts that misbehave', () => {
  test('a host that is unreachable is left to the next run, and costs the others nothing', async () => {
    await network.servers.get('pds 3')?.close()
    const { output, exitCode } = await crawl(['hosts'])
    expect(exitCode).toBe(0)
    expect(JSON.parse(output).sources).toMatchObject([{ hosts: { known: 5, listed: 4, unreachable: 1 } }])
    await expectDone(active().filter(({ pds }) => pds !== 3))
    await network.servers.get('pds 3')?.reopen()
    expect((await crawl(['hosts'])).exitCode).toBe(0)
    await expectDone(active())
  })

  test.each(['repeated cursor', 'lying cursor', 'invents accounts', 'fails', 'html', 'malformed rows'] as const)(
    'a host whose listing has this fault, "%s", is left, and the others are listed to their end',
    async (fault) => {
      network.hostListingFault(2, fault)
      network.intercept = (request, role) => {
        // Accounts that were made up are not resolved one by one here: the directory does not know them.
        const isKnown = network.accounts.some(({ did }) => `/${did}` === request.method)
        return role.kind === 'plc' && !isKnown ? json(404, { message: 'DID not registered' }) : undefined
      }
      expect((await crawl(['hosts'], { maxAttempts: 2 })).exitCode).toBe(0)
      const outcomes = await readOutcomes(database)
      const others = active().filter(({ pds }) => pds !== 2)
      for (const { did } of others) expect(outcomes.get(did)).toMatchObject({ state: 'done' })
      expect(
        await compareWithTruth(
          database,
          network,
          active().filter(({ did }) => outcomes.has(did)),
        ),
      ).toEqual([])
      expect(asked('pds com.atproto.sync.listRepos')).toBeLessThan(1000)
    },
  )

  test('a relay that names the same hosts for ever is left, after the hosts that it has named are listed', async () => {
    let pages = 0
    network.intercept = async (request, role) => {
      if (role.kind !== 'relay' || request.method !== 'com.atproto.sync.listHosts') return undefined
      if (++pages > 1000) return json(500, {})
      const reply = await network.handle({ ...request, params: new URLSearchParams() }, role)
      return json(200, { ...JSON.parse(String(reply.body)), cursor: String(pages) })
    }
    expect((await crawl(['hosts'])).exitCode).toBe(75)
    expect(pages).toBeLessThan(200)
    await expectDone(active())
    const { rows } = await database.pool.query(`select count(*)::int as left from sources where finished_at is null`)
    expect(rows).toEqual([{ left: 0 }]) // the next run lists all of them again
  })

  test('a cursor that a host no longer knows begins its listing anew', async () => {
    await crawl(['hosts'])
    await database.pool.query(`update sources set finished_at = null, cursor = 'nonsense' where name like 'host http%'`)
    expect((await crawl(['hosts'])).exitCode).toBe(0)
    const { rows } = await database.pool.query(`select count(*)::int as left from sources where finished_at is null`)
    expect(rows).toEqual([{ left: 0 }])
  })
})

test('killed in the middle of a listing of hosts, it goes on host by host and page by page', async () => {
  const pages: string[] = []
  network.intercept = (request, role) => {
    if (role.kind === 'pds' && request.method === 'com.atproto.sync.listRepos')
      pages.push(`${role.index} ${request.params.get('cursor') ?? ''}`)
    return undefined
  }
  const args = [
    ...['run', '--no-live', '--source', 'hosts', '--relay', network.relayUrl, '--plc', network.plcUrl],
    ...['--allow-private-hosts', '--database', database.url, '--data-dir', folder, '--collections', '*', '--log-json'],
  ]
  const kill = (step: string) => startIndexer(args, { env: { INDEXER_KILL_AT: step } }).ended
  expect((await kill('after-page-commit:5')).signal).toBe('SIGKILL')
  expect((await kill('before-page-commit:4')).signal).toBe('SIGKILL')
  const { exitCode } = await startIndexer(args).ended
  expect(exitCode).toBe(0)
  await expectDone(active())
  // Each of five hosts has a page with its accounts and an empty one behind it; what a kill undid was asked again.
  const times = Map.groupBy(pages, (page) => page)
  expect(times.size).toBe(10)
  expect(pages.length).toBeLessThan(3 * 10)
  const finishedFirst = [...times.values()].filter(({ length }) => length === 1)
  expect(finishedFirst.length).toBeGreaterThan(0)
})
