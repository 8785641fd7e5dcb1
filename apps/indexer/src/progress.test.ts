import { expect, test } from 'vitest'
import { createRateMeter, duration, renderProgress, renderSummary, type Status, size } from './progress.ts'

const status: Status = {
  balance: { discovered: 5310, waiting: 4000, working: 64, retry: 1, stale: 0, done: 1204, failed: 2, gone: 39 },
  discovering: true,
  sources: [{ name: 'relay https://relay.test', listed: 5310, refused: 0 }],
  rows: 120_400,
  rejected: 3,
  repos: 1200,
  fetchedBytes: 5 * 1024 * 1024,
  errors: new Map([['HttpStatus', 4]]),
  elapsedMs: 10_000,
  heldBytes: 0,
  threads: 1,
}

test('the progress line shows what is done of what, rates, rows and errors', () => {
  expect(renderProgress(status, { reposPerSecond: 88.4, rowsPerSecond: 9120 })).toBe(
    '1,204 of 5,310+ repos done  88/s  120,400 rows  9,120/s  64 working  1 retry  39 gone  2 failed  3 rejected  4 errors',
  )
})

test('the line gives the time left only once the number of repos is known', () => {
  expect(renderProgress({ ...status, discovering: false }, { reposPerSecond: 100, rowsPerSecond: 1 })).toContain(
    'eta 41 s',
  )
  expect(renderProgress(status, { reposPerSecond: 100, rowsPerSecond: 1 })).not.toContain('eta')
})

test('hosts are shown while they are listed, and at the end what became of each source', () => {
  const hosts = { listed: 1980, known: 2010, unreachable: 30 }
  const sources = [
    { name: 'hosts of https://relay.test', listed: 1_204_311, refused: 0, hosts },
    { name: 'file /tmp/dids', listed: 490, refused: 3 },
  ]
  const rates = { reposPerSecond: 1, rowsPerSecond: 1 }
  expect(renderProgress({ ...status, sources }, rates)).toContain('listing 1,980 of 2,010 hosts, 30 unreachable')
  expect(renderProgress({ ...status, sources, discovering: false }, rates)).not.toContain('hosts')
  const page = renderSummary({
    ...status,
    sources,
    tables: [],
    rejects: [],
    unlisted: [],
    peakHeldBytes: 0,
    peakRssBytes: 0,
    interrupted: false,
  })
  expect(page).toMatch(/^The crawl is complete\./)
  expect(page).toContain(
    'sources  hosts of https://relay.test  1,204,311 listed, 1,980 of 2,010 hosts, 30 unreachable\n         file /tmp/dids  490 listed, 3 of no use\n',
  )
})

test('a rate that is not known yet is a question mark, not zero', () => {
  const meter = createRateMeter()
  expect(renderProgress(status, meter({ ...status, elapsedMs: 0 }))).toContain('?/s')
})

test('rates come from a moving window', () => {
  const meter = createRateMeter(10_000)
  for (let second = 0; second <= 30; second++) {
    const repos = second <= 20 ? second * 10 : 200 + (second - 20) * 50
    const rates = meter({ ...status, elapsedMs: second * 1000, repos, rows: repos * 10 })
    if (second === 20) expect(rates.reposPerSecond).toBe(10)
    if (second === 30) expect(rates).toEqual({ reposPerSecond: 50, rowsPerSecond: 500 })
  }
})

test('the summary adds up to what was discovered', () => {
  const page = renderSummary({
    ...status,
    tables: [
      { name: 'like', rows: 100_000 },
      { name: 'post', rows: 20_400 },
    ],
    rejects: [{ code: 'InvalidCbor', records: 3 }],
    unlisted: [{ source: 'relay https://relay.test', code: 'HostError' }],
    peakHeldBytes: 1024,
    peakRssBytes: 200 * 1024 * 1024,
    interrupted: false,
  })
  expect(page).toContain('5,310 discovered = 1,204 done + 39 gone + 2 failed + 1 retry + 4,000 waiting + 64 working')
  expect(page).toContain('rejects  InvalidCbor  3')
  expect(page).toMatch(/^Not complete: /)
  expect(page).toContain('unlisted relay https://relay.test  HostError\n')
})

test('sizes and durations carry their unit', () => {
  expect([size(0), size(1536), size(3 * 1024 ** 3)]).toEqual(['0 B', '1.5 KiB', '3.0 GiB'])
  expect([duration(900), duration(61_000), duration(3 * 3_600_000 + 120_000)]).toEqual(['0.9 s', '61 s', '3 h 2 min'])
})
