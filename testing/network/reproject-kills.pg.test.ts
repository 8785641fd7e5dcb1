// Kills, full disks and second processes while the archive is written and while it is read.
import { spawnSync } from 'node:child_process'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { readArchivedHead } from 'indexer/src/archive-read.ts'
import { openState } from 'indexer/src/state.ts'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { FakeNetwork } from './fakes.ts'
import { compareLines } from './read-views.ts'
import { crawl, freshCrawl, openPlace, type Place, readAll, reproject, unarchived } from './reproject-fake.ts'
import { startResumeNetwork } from './resume-network.ts'
import { runIndexer } from './run-indexer.ts'

let network: FakeNetwork
let after: Map<string, number>

beforeAll(async () => {
  network = await startResumeNetwork(3, 24)
  after = await freshCrawl(network, 'after')
}, 240_000)
afterAll(() => network.close())

const common = ({ database, archive, dir }: Place) => [
  ...['--database', database.url, '--archive', archive, '--data-dir', dir, '--log-json', '--threads', '2'],
  ...['--memory', '8MiB', '--repo-memory', '512KiB'],
]
const runArgs = (place: Place) => [
  ...['run', '--no-live', '--relay', network.relayUrl, '--plc', network.plcUrl, '--allow-private-hosts'],
  ...[...common(place), '--config', place.config('before'), '--max-attempts', '2', '--retry-delay', '0.05'],
]
const reprojectArgs = (place: Place) => ['reproject', ...common(place), '--config', place.config('after')]

test('a crawl that is killed while it archives ends with the CAR of every repo, each of its rev, and nothing unfinished', async () => {
  await using place = await openPlace()
  for (const step of ['before-archived:4', 'after-archived:4', 'before-commit:1', 'after-commit:1']) {
    const { signal } = await runIndexer(runArgs(place), { env: { INDEXER_KILL_AT: step } })
    expect(signal, step).toBe('SIGKILL')
  }
  await crawl(network, place, { config: 'before' })
  expect(await unarchived(place)).toEqual([])
  expect(await readdir(join(place.archive, 'unfinished'))).toEqual([])
}, 240_000)

test('a reproject that is killed at any step goes on, and its readers see the old tables or the new', async () => {
  await using place = await openPlace()
  await crawl(network, place, { config: 'before' })
  const before = await readAll(place.database)
  for (const step of [
    'in-copy:2',
    'before-commit:1',
    'after-commit:1',
    'before-swap',
    'before-swap-commit',
    'after-swap',
  ]) {
    const { signal, stderr } = await runIndexer(reprojectArgs(place), { env: { INDEXER_KILL_AT: step } })
    expect(signal, `${step}: ${stderr}`).toBe('SIGKILL')
    expect(compareLines(step === 'after-swap' ? after : before, await readAll(place.database)), step).toEqual([])
  }
  await crawl(network, place, { config: 'after' })
  expect(compareLines(after, await readAll(place.database))).toEqual([])
}, 240_000)

test('reproject waits for no other process and lets none begin: each says that the database is busy', async () => {
  await using place = await openPlace()
  await crawl(network, place, { config: 'before' })
  const other = await openState(place.database)
  await expect(reproject(place, 'after')).rejects.toMatchObject({ code: 'DatabaseBusy' })
  expect(await other.takeLease('alone')).toBe(true)
  await expect(crawl(network, place, { config: 'before' })).rejects.toMatchObject({ code: 'DatabaseBusy' })
  await expect(reproject(place, 'after')).rejects.toMatchObject({ code: 'DatabaseBusy' })
  await other.end()

  // One that was taken for dead comes back in the middle.
  const { pool } = place.database
  const insert = `insert into processes (place) select 'elsewhere' from atproto_reproject.repos where state = 'done' limit 1`
  const comesBack = (async () => {
    const none = { rowCount: 0 }
    while ((await pool.query(insert).catch(() => none)).rowCount === 0) await sleep(20)
  })()
  await expect(reproject(place, 'after')).rejects.toMatchObject({ code: 'DatabaseBusy' })
  await comesBack
  await pool.query('delete from processes')
  expect((await reproject(place, 'after')).stale).toBe(0)
  expect(compareLines(after, await readAll(place.database))).toEqual([])

  await pool.query('create schema atproto_reproject')
  await expect(reproject(place, 'before')).rejects.toMatchObject({ code: 'BadUsage' })
}, 240_000)

test('without --archive, or with one that is not there, reproject says what is wrong and loses nothing', async () => {
  await using place = await openPlace()
  await crawl(network, place, { config: 'before', archive: false })
  const before = await readAll(place.database)
  const { exitCode, stderr } = await runIndexer(['reproject', '--database', place.database.url, '--log-json'])
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining('BadUsage')])
  await expect(reproject(place, 'before')).rejects.toMatchObject({ code: 'FileUnusable' })
  expect(compareLines(before, await readAll(place.database))).toEqual([])
}, 240_000)

test('the CARs of accounts whose rows are removed go with them', async () => {
  await using place = await openPlace()
  await crawl(network, place, { config: 'before' })
  const { pool } = place.database
  const deleted = await pool.query<{ did: string }>(deleteAccounts)
  await pool.query(`update sources set cursor = null, finished_at = null`)
  const { intercept } = network
  network.intercept = async (request, role) => {
    const reply = await intercept?.(request, role)
    if (request.method !== 'com.atproto.sync.listRepos' || role.kind !== 'relay') return reply
    const { body, ...rest } = await network.handle(request, role)
    const page = JSON.parse(String(body)) as { repos: { did: string }[] }
    const repos = page.repos.filter(({ did }) => !deleted.rows.some((row) => row.did === did))
    return { ...rest, body: JSON.stringify({ ...page, repos }) }
  }
  try {
    await crawl(network, place, { config: 'before' })
  } finally {
    network.intercept = intercept
  }
  const { rows } = await pool.query(`select from repos where state = 'gone' and status = 'deleted' and rev is not null`)
  expect([deleted.rows.length, rows.length]).toEqual([3, 0])
  for (const { did } of deleted.rows)
    await expect(readArchivedHead({ dir: place.archive, did })).rejects.toMatchObject({ code: 'ArchiveMissing' })
  expect(await unarchived(place)).toEqual([])
}, 240_000)

const deleteAccounts = `
  with deleted as (
    update repos set state = 'gone', status = 'deleted'
    where id in (select id from repos where state = 'done' order by id limit 3) returning did
  ), counted as (
    insert into counters (name, writer, value) values ('repos/done', 99, -3), ('repos/gone', 99, 3)
  )
  select did from deleted`

test('an archive whose disk is full stops the run with its code; with room it goes on, and every repo is archived', async ({
  skip,
}) => {
  await using place = await openPlace()
  await mkdir(place.archive)
  const within = [
    ...['unshare', ...(process.getuid?.() === 0 ? [] : ['--map-root-user']), '--mount', 'sh', '-c'],
    ...['mount -t tmpfs -o size=128k tmpfs "$0" && exec "$@"', place.archive],
  ]
  const [command = '', ...rest] = [...within, 'true']
  if (spawnSync(command, rest).status !== 0) skip('this system permits no mount namespaces')
  const full = await runIndexer(runArgs(place), { within })
  expect([full.exitCode, full.stderr]).toEqual([75, expect.stringContaining('ArchiveUnwritable')])
  const { rows } = await place.database.pool.query<{ state: string }>(`select distinct state from repos order by 1`)
  expect(rows.map(({ state }) => state)).not.toContain('working')
  await crawl(network, place, { config: 'before' })
  const lost = await unarchived(place) // those that were archived on the small disk, which is gone
  expect(lost.every((line) => line.includes('ArchiveMissing'))).toBe(true)
  expect((await reproject(place, 'after')).carried).toEqual(lost.length === 0 ? {} : { ArchiveMissing: lost.length })
  await crawl(network, place, { config: 'after' })
  expect(compareLines(after, await readAll(place.database))).toEqual([])
}, 240_000)
