// Where repos are listed: each source by itself, and several together.
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { json, xrpcError } from 'indexer/demo/server.ts'
import { migrate } from 'indexer/src/database.ts'
import type { RunOptions, RunOutcome } from 'indexer/src/run.ts'
import { openState } from 'indexer/src/state.ts'
import { createRandom } from 'repo-stream/fixtures'
import { describe, expect, test, vi } from 'vitest'
import { readOutcomes } from './crawl-fake.ts'
import { active, asked, crawl, database, didsOf, expectDone, folder, network } from './sources-fake.ts'

describe('one source', () => {
  test('hosts: every account is reached, also those that the relay omits, with the status that their host gives', async () => {
    expect((await crawl(['hosts'])).exitCode).toBe(0)
    await expectDone(active())
    const outcomes = await readOutcomes(database)
    const gone = network.accounts.filter(({ status }) => status !== 'active' && status !== 'deleted')
    expect(gone.length).toBeGreaterThan(0)
    for (const { did, status } of gone) expect(outcomes.get(did)).toMatchObject({ state: 'gone', status })
    expect(asked('relay com.atproto.sync.listRepos')).toBe(0)
    for (const { did } of gone) expect(network.requests.getRepo.get(did)).toBeUndefined()
  })

  test('hosts with --verify structure: no DID document is asked for', async () => {
    expect((await crawl(['hosts'], { verify: 'structure' })).exitCode).toBe(0)
    await expectDone(active())
    expect(asked('plc /did')).toBe(0)
  })

  test('host: the accounts of one host, and no others', async () => {
    const [, pds = ''] = network.pdsUrls
    expect((await crawl([`host=${pds}`])).exitCode).toBe(0)
    await expectDone(active().filter((account) => account.pds === 1))
  })

  test('collection: the accounts that have records of any of several collections, from a directory', async () => {
    const wanted = ['app.bsky.graph.list', 'garden.demo.plant.sighting'] as const
    const sources = wanted.map((nsid) => `collection=${nsid}`)
    expect((await crawl(sources, { collectionDirectory: network.relayUrl })).exitCode).toBe(0)
    const having = active().filter(({ counts }) => wanted.some((nsid) => counts[nsid] > 0))
    expect(having.length).toBeGreaterThan(0)
    expect(having.length).toBeLessThan(active().length)
    await expectDone(having)
  })

  test('file: DIDs and handles are indexed, lines that name nobody are counted, and the others go on', async () => {
    const [first, second, third] = active()
    if (!first || !second || !third) throw new Error('three accounts')
    serveHandles()
    const lines = [
      '\uFEFF# accounts to index',
      first.did,
      '',
      `@${second.handle.toUpperCase()}  # a handle`,
      'nonsense',
      'did:plc',
      'nobody.demo.test',
      'x'.repeat(100_000),
      `at://${third.did}`,
      first.did,
    ]
    const path = join(folder, 'accounts.txt')
    await writeFile(path, lines.join('\r\n'))
    const { output, exitCode } = await crawl([`file=${path}`])
    expect(exitCode).toBe(0)
    expect(JSON.parse(output).sources).toMatchObject([{ name: `file ${path}`, listed: 3, refused: 4 }])
    await expectDone([first, second, third])
  })

  test('a file that cannot be read is wrong use', async () => {
    await expect(crawl([`file=${join(folder, 'nothing')}`])).rejects.toMatchObject({ code: 'BadUsage' })
  })

  test('arguments: the accounts that were named, again when they have written, and no others', async () => {
    const [first, second] = active()
    if (!first || !second) throw new Error('two accounts')
    serveHandles()
    const names = [first.did, second.handle]
    expect((await crawl([], { names })).exitCode).toBe(0)
    await expectDone([first, second])
    network.edit(first, createRandom('arguments'))
    expect((await crawl([], { names })).exitCode).toBe(0)
    await expectDone([first, second])
    expect(network.requests.getRepo.get(first.did)).toBe(2)
    expect(network.requests.getRepo.get(second.did)).toBe(1)
  })

  test('an argument that names nobody ends with the code for "again later", and the others are indexed', async () => {
    const [first] = active()
    if (!first) throw new Error('an account')
    expect((await crawl([], { names: [first.did, 'nobody.demo.test'] })).exitCode).toBe(75)
    await expectDone([first])
    await expect(crawl([], { names: ['nobody'] })).rejects.toMatchObject({ code: 'BadUsage' })
  })
})

test('a relay that knows no listHosts, as a PDS, ends the run with the code for "again later"', async () => {
  expect((await crawl(['hosts'], { relay: network.pdsUrls[0] ?? '', maxAttempts: 1 })).exitCode).toBe(75)
})

test('a cursor behind the end, as a relay has that was built anew, begins its listing anew', async () => {
  await migrate(database)
  const state = await openState(database)
  const source = `relay ${network.relayUrl}`
  await state.readSource(source)
  const [first] = active()
  if (!first) throw new Error('an account')
  await state.commitPage({ source, cursor: '1000000', repos: [{ did: first.did, active: true }], finished: false })
  await state.end()
  expect((await crawl(['relay'])).exitCode).toBe(0)
  await expectDone(active())
})

test('an account that was deleted since loses its rows when it is looked at again, an inactive one has them hidden', async () => {
  const [deleted, inactive] = active()
  if (!deleted || !inactive) throw new Error('two accounts')
  const names = [deleted.did, inactive.did]
  await crawl([], { names })
  network.intercept = (request) => {
    const did = request.params.get('did')
    if (did === deleted.did) return xrpcError(400, 'RepoNotFound', `Could not find repo for DID: ${did}`)
    if (did === inactive.did) return json(200, { did, active: false, status: 'deactivated' })
    return undefined
  }
  expect((await crawl([], { names })).exitCode).toBe(0)
  const outcomes = await readOutcomes(database)
  expect(outcomes.get(deleted.did)).toMatchObject({ state: 'gone', status: 'deleted', records: 0 })
  expect(outcomes.get(inactive.did)).toMatchObject({ state: 'gone', status: 'deactivated' })
  expect(outcomes.get(inactive.did)?.records).toBeGreaterThan(0)
  expect((await database.pool.query('select did from profile')).rows).toEqual([])
  const { rows } = await database.pool.query('select distinct repo from profile_rows')
  expect(rows).toHaveLength(1)
})

test('a named account that has moved is asked for where it lives, though the copy of the directory does not know that yet', async () => {
  const [account] = active()
  if (!account) throw new Error('an account')
  const names = [account.did]
  await crawl([], { names })
  await database.pool.query(`
    insert into identities (did, operated_at, host_id, handle, signing_key)
    select did, now(), host_id, handle, signing_key from repos`)
  network.migrate(account, (account.pds + 1) % network.pdsUrls.length)
  network.edit(account, createRandom('moved'))
  await crawl([], { names, plcExport: true })
  await expectDone([account])
})

describe('names while another process of the same crawl lives', () => {
  test.each(['arguments', 'file'] as const)('%s: those that were not listed yet are', async (kind) => {
    const [first, second] = active()
    if (!first || !second) throw new Error('two accounts')
    const path = join(folder, 'accounts.txt')
    const name = async (dids: string[]): Promise<RunOutcome> => {
      if (kind === 'arguments') return await crawl([], { names: dids })
      await writeFile(path, dids.join('\n'))
      return await crawl([`file=${path}`])
    }
    await migrate(database)
    const other = await openState(database)
    try {
      expect((await name([first.did])).exitCode).toBe(0)
      expect((await name([first.did, second.did])).exitCode).toBe(0)
      await expectDone([first, second])
      const { output } = await name([first.did, second.did])
      expect(JSON.parse(output).sources).toMatchObject([{ listed: 0 }])
    } finally {
      await other.end()
    }
  })

  test.each(['arguments', 'file'] as const)(
    '%s: handles whose domains could not be asked are asked later',
    async (kind) => {
      const [first, second] = active()
      if (!first || !second) throw new Error('two accounts')
      const path = join(folder, 'accounts.txt')
      const names = [first.did, second.handle]
      await writeFile(path, names.join('\n'))
      const again = () => (kind === 'arguments' ? crawl([], { names }) : crawl([`file=${path}`]))
      network.intercept = (request) =>
        request.method.startsWith('/.well-known/') ? xrpcError(503, 'Unavailable', 'no') : undefined
      await migrate(database)
      const other = await openState(database)
      try {
        expect((await again()).exitCode).toBe(75)
        await expectDone([first])
        serveHandles()
        expect((await again()).exitCode).toBe(0)
        await expectDone([first, second])
      } finally {
        await other.end()
      }
    },
  )

  test('a file that has changed is read from its beginning, wherever the last pass was stopped', async () => {
    const [first, second] = active()
    if (!first || !second) throw new Error('two accounts')
    const path = join(folder, 'accounts.txt')
    await writeFile(path, first.did)
    await crawl([`file=${path}`])
    const stopped = `update sources set finished_at = null, cursor = split_part(cursor, ' ', 1) || ' ' || $1 where name = $2`
    await database.pool.query(stopped, [`${first.did.length}:1`, `file ${path}`])
    await writeFile(path, `${second.did}\n${first.did}`)
    expect((await crawl([`file=${path}`])).exitCode).toBe(0)
    await expectDone([first, second])
  })
})

test.each(['plc', 'pds'] as const)(
  'an account that has failed (%s) is tried again when it is named, and the run waits for it',
  async (kind) => {
    const [first, second] = active()
    if (!first || !second) throw new Error('two accounts')
    const path = join(folder, 'accounts.txt')
    await writeFile(path, second.did)
    const crawlBoth = async (options: Partial<RunOptions>): Promise<void> => {
      expect((await crawl([`file=${path}`], { names: [first.did], ...options })).exitCode).toBe(0)
    }
    network.intercept = (request, role) =>
      role.kind === kind && /getRepo$|did:plc/.test(request.method)
        ? xrpcError(500, 'InternalServerError', 'no')
        : undefined
    await crawlBoth({ maxAttempts: 1 })
    const failed = await readOutcomes(database)
    for (const { did } of [first, second]) expect(failed.get(did)).toMatchObject({ state: 'failed' })
    network.intercept = undefined
    await crawlBoth({})
    await expectDone([first, second])
  },
)

test('a host that another process lists is waited for, the other hosts are not, and it is not listed twice', async () => {
  await migrate(database)
  const other = await openState(database)
  const [pds = ''] = network.pdsUrls
  const source = `host ${pds}`
  const askedFor: number[] = []
  network.intercept = (request, role) => {
    if (role.kind === 'pds' && request.method === 'com.atproto.sync.listRepos') askedFor.push(role.index)
    return undefined
  }
  try {
    expect(await other.takeLease(`source ${source}`)).toBe(true)
    const crawled = crawl(['hosts'])
    const finished = `select name from sources where name like 'host http%' and finished_at is not null`
    await vi.waitFor(async () => expect((await database.pool.query(finished)).rows).toHaveLength(4), {
      timeout: 60_000,
      interval: 100,
    })
    const repos = active()
      .filter((account) => account.pds === 0)
      .map(({ did }) => ({ did, active: true }))
    await other.readSource(source)
    await other.commitPage({ source, cursor: undefined, repos, finished: true, host: pds, hostIsTrusted: false })
    await other.dropLease(`source ${source}`)
    const { output, exitCode } = await crawled
    expect(exitCode).toBe(0)
    expect(JSON.parse(output).sources).toMatchObject([{ hosts: { known: 5, listed: 5, unreachable: 0 } }])
    expect(new Set(askedFor)).toEqual(new Set([1, 2, 3, 4]))
    await expectDone(active())
  } finally {
    await other.end()
  }
})

describe('several sources', () => {
  test('an account that all of them list is fetched once', async () => {
    const path = join(folder, 'accounts.txt')
    await writeFile(
      path,
      active()
        .map(({ did }) => did)
        .join('\n'),
    )
    const sources = [
      'relay',
      'hosts',
      'relay',
      `host=${network.pdsUrls[2]}`,
      'collection=app.bsky.feed.post',
      `file=${path}`,
    ]
    const names = [active()[0]?.did ?? '']
    const { output, exitCode } = await crawl(sources, { names })
    expect(exitCode).toBe(0)
    expect(JSON.parse(output).sources).toHaveLength(6)
    await expectDone(active())
    for (const { did } of active()) expect(network.requests.getRepo.get(did)).toBe(1)
  })

  test('a source that fails costs the others nothing', async () => {
    network.listingFault('fails')
    expect((await crawl(['relay', 'hosts'])).exitCode).toBe(75)
    await expectDone(active())
  })

  test('a later listing fetches only what has moved', async () => {
    await crawl(['hosts'])
    const edited = active().filter((_, index) => index % 7 === 0)
    for (const account of edited) network.edit(account, createRandom(account.did))
    network.requests.getRepo.clear()
    expect((await crawl(['hosts'])).exitCode).toBe(0)
    await expectDone(active())
    expect([...network.requests.getRepo.keys()].sort()).toEqual(didsOf(edited))
  })
})

/** The domain of every handle answers, as its owner's PDS does for it. */
function serveHandles(): void {
  network.intercept = (request) => {
    const handle = request.method.replace('/.well-known/', '')
    const account = network.accounts.find((one) => one.handle === handle)
    return account && { status: 200, headers: { 'content-type': 'text/plain' }, body: `${account.did}\n` }
  }
}
