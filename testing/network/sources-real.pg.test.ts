// The sources on a real PDS and PLC directory: the PDS' own listing, a relay that names it as a host, and a file of its accounts.
// One crawl after the other on one database: each source meets what those before it left.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { json, startServer } from 'indexer/demo/server.ts'
import { openTestDatabase, type TestDatabase } from 'indexer/src/testing-database.ts'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RealNetwork, startRealNetwork } from './index.ts'
import { adminPassword } from './real-servers.ts'
import { runIndexer } from './run-indexer.ts'
import { basicAuth, xrpc } from './xrpc.ts'

describe('sources on a real PDS', () => {
  let network: RealNetwork
  let database: TestDatabase
  let folder: string

  beforeAll(async () => {
    network = await startRealNetwork()
    database = await openTestDatabase({ migrated: false })
    folder = await mkdtemp(join(tmpdir(), 'sources-real-'))
  }, 300_000)

  afterAll(async () => {
    await network?.close()
    await database?.close()
    await rm(folder, { recursive: true, force: true })
  })

  const crawl = (...args: string[]) =>
    runIndexer([
      ...['run', '--no-live', '--plc', network.plcUrl, '--allow-private-hosts', '--database', database.url],
      ...['--data-dir', folder, '--log-json', '--log-level', 'warn', ...args],
    ])

  const byState = async (): Promise<Record<string, number>> => {
    const { rows } = await database.pool.query<{ state: string; accounts: number }>(
      `select coalesce(status, state::text) as state, count(*)::int as accounts from repos group by 1`,
    )
    return Object.fromEntries(rows.map(({ state, accounts }) => [state, accounts]))
  }

  const isActive = ({ role }: { role: string }) => !['deactivated', 'takendown', 'deleted'].includes(role)

  test('file: DIDs of a file and an argument are indexed, and nobody else', async () => {
    const [first, second, third] = network.accounts.filter(isActive)
    const path = join(folder, 'accounts.txt')
    await writeFile(path, `# two accounts\n${first?.did}\nnobody\n${second?.did}\n`)
    const result = await crawl('--source', `file=${path}`, third?.did ?? '')
    expect(result.exitCode, result.stderr.slice(-2000)).toBe(0)
    expect(JSON.parse(result.stdout).sources).toMatchObject([
      { name: `file ${path}`, listed: 2, refused: 1 },
      { name: 'arguments', listed: 1 },
    ])
    expect(await byState()).toEqual({ done: 3 })
    expect(result.stderr).toContain('"line":3')
  }, 120_000)

  test('host: the listing of the PDS itself gives everybody, and who is deactivated or taken down', async () => {
    const result = await crawl('--source', `host=${network.pdsUrl}`)
    expect(result.exitCode, result.stderr.slice(-2000)).toBe(0)
    const done = network.accounts.filter(isActive).length
    expect(await byState()).toEqual({ done, deactivated: 2, takendown: 2 })
  }, 120_000)

  test('hosts: a relay names the PDS; accounts that were taken down since are hidden, and come back', async () => {
    const hostname = new URL(network.pdsUrl).host
    const relay = await startServer(() => json(200, { hosts: [{ hostname, status: 'active' }] }))
    const hosts = ['--source', 'hosts', '--relay', relay.url]
    const account = network.accounts.find(({ role }) => role === 'edited')
    const done = network.accounts.filter(isActive).length
    const rows = async () => {
      const { rows } = await database.pool.query('select count(*)::int as posts from post where did = $1', [
        account?.did,
      ])
      return rows[0]?.posts
    }
    const before = await rows()
    expect(before).toBeGreaterThan(0)
    try {
      await setTakedown(true)
      expect((await crawl(...hosts)).exitCode).toBe(0)
      expect(await byState()).toEqual({ done: done - 1, deactivated: 2, takendown: 3 })
      expect(await rows()).toBe(0)
      await setTakedown(false)
      expect((await crawl(...hosts)).exitCode).toBe(0)
      expect(await byState()).toEqual({ done, deactivated: 2, takendown: 2 })
      expect(await rows()).toBe(before)
    } finally {
      await relay.close()
    }

    async function setTakedown(applied: boolean): Promise<void> {
      await xrpc(network.pdsUrl, 'com.atproto.admin.updateSubjectStatus', {
        auth: basicAuth(adminPassword),
        body: {
          subject: { $type: 'com.atproto.admin.defs#repoRef', did: account?.did },
          takedown: { applied },
        },
      })
    }
  }, 180_000)

  test('host: an account that was deleted at the PDS is in its listing no more, and its rows go', async () => {
    const account = network.accounts.find(({ role }) => role === 'plain')
    const did = account?.did
    const done = network.accounts.filter(isActive).length
    const posts = () => database.pool.query('select uri from post where did = $1', [did])
    expect((await posts()).rowCount).toBeGreaterThan(0)
    await xrpc(network.pdsUrl, 'com.atproto.admin.deleteAccount', { auth: basicAuth(adminPassword), body: { did } })
    const result = await crawl('--source', `host=${network.pdsUrl}`)
    expect(result.exitCode, result.stderr.slice(-2000)).toBe(0)
    expect(await byState()).toEqual({ done: done - 1, deactivated: 2, takendown: 2, deleted: 1 })
    expect((await posts()).rowCount).toBe(0)
    const rows = 'select count(*)::int as rows from post_rows join repos on id = repo where did = $1'
    expect((await database.pool.query(rows, [did])).rows).toEqual([{ rows: 0 }])
  }, 120_000)
})
