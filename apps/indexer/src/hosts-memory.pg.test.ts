import { expect, it } from 'vitest'
import { transact } from './database-transact.ts'
import { IndexerError } from './errors.ts'
import { createHosts } from './hosts.ts'
import { keepHosts } from './hosts-memory.ts'
import { ensureHosts } from './state-hosts.ts'
import { openTestDatabase } from './testing-database.ts'

const dead = 'https://dead.example'
const limiting = 'https://limiting.example'
const quiet = 'https://quiet.example'

it('a restart goes on to spare dead hosts and to keep limits, and the table shows both', async () => {
  await using database = await openTestDatabase({ migrated: true })
  await transact(database.pool, async (client) => void (await ensureHosts(client, [dead, limiting, quiet])))
  let nowMs = Date.now()
  const now = () => nowMs
  {
    const hosts = createHosts({ now, maxInFlight: 8 })
    await using _memory = await keepHosts(hosts, database)
    for (const origin of [dead, limiting, quiet]) hosts.setWork(origin, 100)
    const rateLimit = { limit: 60, windowMs: 60_000 }
    hosts.seen({ origin: limiting, kind: 'repo', status: 200, rateLimit, requestedAtMs: nowMs })
    for (let failure = 0; failure < 5; failure++) {
      hosts.setWork(limiting, 0)
      hosts.setWork(quiet, 0)
      nowMs += 1000
      expect(hosts.next()).toEqual({ origin: dead })
      hosts.finished(dead, { error: new IndexerError('ConnectFailed', 'refused') })
    }
  }
  const { rows } = await database.pool.query('select origin, failures, cool_until, limits from hosts order by origin')
  expect(rows).toMatchObject([
    { origin: dead, failures: 5, cool_until: new Date(nowMs + 5000), limits: { deadSince: expect.any(String) } },
    { origin: limiting, failures: 0, cool_until: null, limits: { limit: 60, windowMs: 60_000 } },
    { origin: quiet, failures: 0, cool_until: null, limits: null },
  ])
  const hosts = createHosts({ now, maxInFlight: 8 })
  await using memory = await keepHosts(hosts, database)
  const described = hosts.describe()
  expect(described.find(({ origin }) => origin === dead)).toMatchObject({ state: 'cooling' })
  expect(described.find(({ origin }) => origin === limiting)?.requestsPerSecond).toBeLessThanOrEqual(1)
  hosts.setWork(dead, 10)
  expect(hosts.next()).toEqual({ waitMs: 5000 })
  nowMs += 5000
  expect(hosts.next()).toEqual({ origin: dead })
  hosts.finished(dead, 'ok')
  await memory.save()
  const after = await database.pool.query('select failures, cool_until, seen_at from hosts where origin = $1', [dead])
  expect(after.rows).toEqual([{ failures: 0, cool_until: null, seen_at: expect.any(Date) }])
})

it('a pause that a host asked for outlives a restart, and so does the lower pace after it', async () => {
  await using database = await openTestDatabase({ migrated: true })
  await transact(database.pool, async (client) => void (await ensureHosts(client, [limiting])))
  const startMs = Date.now()
  let nowMs = startMs
  const now = () => nowMs
  const before = createHosts({ now, maxInFlight: 8 })
  {
    await using _memory = await keepHosts(before, database)
    before.setWork(limiting, 100)
    before.next()
    const rateLimit = { retryAfterMs: 300_000 }
    before.seen({ origin: limiting, kind: 'repo', status: 429, rateLimit, requestedAtMs: nowMs })
  }
  nowMs += 5_000
  const hosts = createHosts({ now, maxInFlight: 8 })
  await using _memory = await keepHosts(hosts, database)
  hosts.setWork(limiting, 100)
  expect(hosts.next()).toEqual({ waitMs: 301_000 - 5_000 })
  nowMs = startMs + 301_000
  expect(hosts.next()).toEqual({ origin: limiting })
  expect(hosts.describe()[0]?.requestsPerSecond).toBeCloseTo(before.describe()[0]?.requestsPerSecond ?? 0)
  expect(hosts.describe()[0]?.requestsPerSecond).toBeLessThan(15) // of 20
})
