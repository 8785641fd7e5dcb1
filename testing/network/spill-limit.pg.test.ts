// All temporary files together have one limit, whatever the number of big repos in flight.
import { openTestDatabase } from 'indexer/src/testing-database.ts'
import { expect, test } from 'vitest'
import { compareWithTruth, crawlFake } from './crawl-fake.ts'
import { startFakeNetwork } from './fakes.ts'

test('big repos that find the shared disk taken are tried again when others are done, and all are done in the end', async () => {
  await using network = await startFakeNetwork({ accounts: 14, pdsCount: 2, bigRepos: { count: 8, records: 3000 } })
  await using database = await openTestDatabase({ migrated: false })
  const options = { repoMemory: 64 * 1024, spillLimit: 1_400_000, maxAttempts: 40, retryDelay: 0.02, concurrency: 16 }
  const outcome = await crawlFake(network, database, { options })
  expect(outcome.exitCode).toBe(0)
  const { errors } = JSON.parse(outcome.output)
  expect(errors.StoreBudgetSpent).toBeGreaterThan(0)
  const active = network.accounts.filter(({ status }) => status === 'active')
  expect(await compareWithTruth(database, network, active)).toEqual([])
}, 60_000)
