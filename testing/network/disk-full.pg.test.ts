// A disk that fills up under a walk: a real one of 128 KiB, in a mount namespace of its own. Where the system does not
// permit that, the test says so and is left out.
import { spawnSync } from 'node:child_process'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openTestDatabase } from 'indexer/src/testing-database.ts'
import { expect, test } from 'vitest'
import { compareWithTruth, readOutcomes } from './crawl-fake.ts'
import { startFakeNetwork } from './fakes.ts'
import { runIndexer } from './run-indexer.ts'

const withSmallDisk = (folder: string) => [
  ...['unshare', ...(process.getuid?.() === 0 ? [] : ['--map-root-user']), '--mount', 'sh', '-c'],
  ...['mount -t tmpfs -o size=128k tmpfs "$0" && exec "$@"', folder],
]

test('a walk that finds the disk full is tried again and then fails with its code; the others are done, and it is when there is room', async ({
  skip,
}) => {
  const spillDir = await mkdtemp(join(tmpdir(), 'disk-full-'))
  const [command = '', ...rest] = [...withSmallDisk(spillDir), 'true']
  if (spawnSync(command, rest).status !== 0) {
    await rm(spillDir, { recursive: true })
    skip('this system permits no mount namespaces')
  }
  await using network = await startFakeNetwork({ accounts: 12, bigRepos: { count: 1, records: 3000 } })
  await using database = await openTestDatabase({ migrated: false })
  const crawl = (within: readonly string[]) =>
    runIndexer(
      [
        ...['run', '--no-live', '--relay', network.relayUrl, '--plc', network.plcUrl, '--allow-private-hosts'],
        ...['--database', database.url, '--data-dir', spillDir, '--spill-dir', spillDir, '--collections', '*'],
        ...['--repo-memory', '64KiB', '--max-attempts', '2', '--retry-delay', '0.05', '--log-json'],
      ],
      { within },
    )
  try {
    expect(await crawl(withSmallDisk(spillDir))).toMatchObject({ exitCode: 0 })
    const full = await readOutcomes(database)
    const big = network.accounts.filter(({ counts }) => counts['app.bsky.feed.like'] > 1000)
    expect(big.map(({ did }) => full.get(did))).toEqual([
      { state: 'failed', status: 'active', code: 'DiskFull', records: 0 },
    ])
    const small = network.accounts.filter((account) => account.status === 'active' && !big.includes(account))
    expect(await compareWithTruth(database, network, small)).toEqual([])

    await database.pool.query(`update repos set retry_at = now() where state = 'failed'`)
    expect(await crawl([])).toMatchObject({ exitCode: 0 })
    expect(await compareWithTruth(database, network, [...small, ...big])).toEqual([])
    expect(await readdir(spillDir)).toEqual([])
  } finally {
    await rm(spillDir, { recursive: true, force: true })
  }
}, 60_000)
