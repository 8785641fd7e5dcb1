import { describe, expect, it } from 'vitest'
import { createPopulation, randomFrom } from '../bench/hosts-population.ts'
import { simulateHosts } from '../bench/hosts-simulation.ts'
import { IndexerError } from './errors.ts'
import { createHosts, type Hosts, type HostsOptions } from './hosts.ts'
import { Heap } from './hosts-heap.ts'
import { unpacedHosts } from './hosts-limits.ts'
import { readRateLimit } from './rate-limit.ts'

const a = 'https://a.example'
const b = 'https://b.example'
const limit = (requests: number, seconds: number) => ({ limit: requests, windowMs: seconds * 1000 })

function open(options: Partial<HostsOptions> = {}): { hosts: Hosts; clock: { ms: number }; take: () => string[] } {
  const clock = { ms: 0 }
  const hosts = createHosts({ now: () => clock.ms, maxInFlight: 256, ...options })
  const take = () => {
    const origins: string[] = []
    for (let next = hosts.next(); 'origin' in next; next = hosts.next()) origins.push(next.origin)
    return origins
  }
  return { hosts, clock, take }
}

const answered = (hosts: Hosts, origin: string) => {
  const rateLimit = limit(1_000_000, 1)
  hosts.seen({ origin, kind: 'repo', status: 200, rateLimit, requestedAtMs: 0 })
  hosts.finished(origin, 'ok')
}

/** One whose answers are quick: it may have all slots then. */
const answerQuickly = (hosts: Hosts, origin: string) => {
  hosts.setWork(origin, 1)
  for (let turn = 0; turn < 256; turn++) {
    expect(hosts.next()).toEqual({ origin })
    answered(hosts, origin)
  }
  hosts.setWork(origin, 0)
}

describe('the scheduler', () => {
  const firstSeed = Number(process.env.SEED ?? 1)
  it.each([0, 1, 2, 3, 4, 5, 6, 7])(
    'keeps hosts busy and none over its limit, whatever befalls them (seed + %d)',
    (offset) => {
      const seed = firstSeed + offset
      const result = simulateHosts(createPopulation({ seed, hosts: 40, maxRepos: 20_000 }), { seed })
      expect(result.maxInFlight, `SEED=${seed}`).toBeLessThanOrEqual(256)
      expect(result.idleShare, `SEED=${seed}`).toBeLessThan(0.03)
      for (const host of result.hosts) {
        expect(host.idleShare, `SEED=${seed}`).toBeLessThan(0.03)
        expect(host.overLimit + host.refused, `SEED=${seed}`).toBe(0)
      }
    },
  )

  it('gives no turn when nobody has work, and none past the limit in flight', () => {
    const { hosts, take } = open({ maxInFlight: 7, limits: unpacedHosts })
    expect(hosts.next()).toEqual({ waitMs: undefined })
    answerQuickly(hosts, a)
    hosts.setWork(a, 100)
    expect(take()).toHaveLength(7)
    expect(hosts.next()).toEqual({ waitMs: undefined })
    hosts.finished(a, 'ok')
    expect(take()).toHaveLength(1)
  })

  it('says how long to wait for the next turn', () => {
    const { hosts, clock, take } = open()
    hosts.setWork(a, 100)
    expect(take()).toHaveLength(1)
    const next = hosts.next()
    if (!('waitMs' in next) || next.waitMs === undefined) throw new Error('a wait was expected')
    expect(next.waitMs).toBeGreaterThan(49)
    clock.ms += next.waitMs
    expect(take()).toHaveLength(1)
  })

  it('asks a host a few times until it has answered once', () => {
    const { hosts, take } = open({ limits: unpacedHosts })
    hosts.setWork(a, 1000)
    expect(take()).toHaveLength(20)
    answered(hosts, a)
    expect(take()).toHaveLength(64 - 19)
  })

  it('gives a host all slots while its answers are quick, and a quarter when it keeps them', () => {
    const { hosts, clock, take } = open({ limits: unpacedHosts })
    answerQuickly(hosts, a)
    hosts.setWork(a, 1000)
    expect(take()).toHaveLength(256)
    for (let turn = 0; turn < 256; turn++) hosts.finished(a, 'ok')
    clock.ms += 120_000
    hosts.setWork(a, 1000)
    expect(take()).toHaveLength(64)
  })

  it('keeps three quarters of the slots for the others when a host that has answered trickles', () => {
    const { hosts, clock, take } = open()
    hosts.setWork(a, 5000)
    hosts.next()
    hosts.finished(a, 'ok')
    let kept = 0
    for (; clock.ms < 60_000; clock.ms += 50) kept += take().length
    expect(kept).toBe(64)
    hosts.setWork(b, 5000)
    let done = 0
    for (; clock.ms < 90_000; clock.ms += 2) {
      const turns = take()
      expect(turns).not.toContain(a)
      for (const origin of turns) hosts.finished(origin, 'ok')
      done += turns.length
    }
    expect(done).toBeGreaterThan(580) // 20 a second
  })

  it('shares half of the slots evenly, however much work one host has', () => {
    const { hosts, take } = open({ maxInFlight: 100, limits: unpacedHosts })
    for (const origin of [a, b]) answerQuickly(hosts, origin)
    hosts.setWork(a, 1_000_000)
    hosts.setWork(b, 1000)
    const turns = take()
    expect(turns.filter((origin) => origin === b).length).toBeGreaterThanOrEqual(25)
    expect(turns.filter((origin) => origin === a).length).toBeGreaterThan(50)
  })

  it('lets every host have its turn when there are more hosts than slots', () => {
    const { hosts, clock } = open({ maxInFlight: 4 })
    for (let index = 0; index < 40; index++) hosts.setWork(`https://h${index}.example`, 1000)
    const turns = new Map<string, number>()
    for (let round = 0; round < 4000; round++) {
      const next = hosts.next()
      if ('origin' in next) turns.set(next.origin, (turns.get(next.origin) ?? 0) + 1)
      for (const { origin, inFlight } of hosts.describe())
        if (inFlight > 0 && round % 3 === 0) hosts.finished(origin, 'ok')
      clock.ms += 10
    }
    expect(turns.size).toBe(40)
    expect(Math.min(...turns.values())).toBeGreaterThan(5)
  })

  it('leaves a host that died alone while the others go on, and finds it again', () => {
    const { hosts, clock, take } = open({ limits: unpacedHosts })
    hosts.setWork(a, 1000)
    for (const origin of take()) hosts.finished(origin, { error: new IndexerError('ConnectFailed', 'no') })
    expect(hosts.describe()[0]).toMatchObject({ state: 'cooling', inFlight: 0 })
    expect(hosts.next()).toEqual({ waitMs: 5000 })
    hosts.setWork(b, true)
    expect(take()[0]).toBe(b)
    clock.ms = 5000
    expect(take().filter((origin) => origin === a)).toHaveLength(1)
    hosts.finished(a, 'ok')
    expect(take().filter((origin) => origin === a).length).toBeGreaterThan(50)
  })

  it('does not blame a host for what is not its fault', () => {
    const { hosts, take } = open({ limits: unpacedHosts })
    hosts.setWork(a, 1000)
    const blameless = ['RepoNotFound', 'XrpcRefused', 'WriteInterrupted', 'RateLimited', 'DatabaseUnavailable'] as const
    for (let round = 0; round < 100; round++) {
      take()
      for (const code of blameless) hosts.finished(a, { error: new IndexerError(code, 'x') })
      take()
      hosts.finished(a, { error: new Error('a bug') })
    }
    expect(hosts.describe()[0]).toMatchObject({ state: 'ok', failures: 0 })
  })

  it('heeds a 429 of getRepo for repos only, and one of the rest for the rest only', () => {
    const { hosts } = open()
    hosts.setWork(a, 10)
    hosts.seen({ origin: a, kind: 'repo', status: 429, rateLimit: { retryAfterMs: 60_000 }, requestedAtMs: 0 })
    expect(hosts.next()).toEqual({ waitMs: 61_000 })
    expect(hosts.nextOther(a)).toEqual({ origin: a })
    hosts.setWork(b, 10)
    hosts.seen({ origin: b, kind: 'other', status: 429, rateLimit: { retryAfterMs: 30_000 }, requestedAtMs: 0 })
    expect(hosts.next()).toEqual({ origin: b })
    expect(hosts.nextOther(b)).toEqual({ waitMs: 31_000 })
  })

  const day = 86_400_000
  it.each<Record<string, string>>([
    { 'ratelimit-policy': '1;w=31536000' },
    { 'ratelimit-policy': '1;w=1e306' },
    { 'ratelimit-policy': '0.001;w=1e14' },
    {
      'ratelimit-policy': `${'1'.padEnd(308, '0')};w=60`,
      'ratelimit-remaining': '1'.padEnd(300, '0'),
      'ratelimit-reset': '60',
    },
    { 'ratelimit-policy': '1000000000;w=0.002', 'ratelimit-remaining': '100000000', 'ratelimit-reset': '1' },
    { 'ratelimit-policy': '1;w=1e-320', 'ratelimit-remaining': '0', 'ratelimit-reset': '1e400' },
  ])('takes no header for a reason to wait for ever, or to hold up the others (%#)', (headers) => {
    const { hosts, clock } = open()
    clock.ms = Date.now()
    hosts.setWork(a, 10)
    for (let request = 0; request < 3; request++) {
      const turn = hosts.next()
      if ('waitMs' in turn) break
      const rateLimit = readRateLimit(headers, clock.ms)
      hosts.seen({ origin: a, kind: 'repo', status: 200, rateLimit, requestedAtMs: clock.ms })
      hosts.finished(a, 'ok')
    }
    let next = hosts.next()
    for (let waits = 0; waits < 3 && 'waitMs' in next; waits++) {
      expect(next.waitMs).toBeLessThanOrEqual(2.02 * day)
      clock.ms += next.waitMs ?? Number.NaN
      next = hosts.next()
    }
    expect(next).toEqual({ origin: a })
    hosts.setWork(b, 10)
    expect(hosts.next()).toMatchObject({ origin: expect.any(String) })
  })

  it('counts what other hosts redirect to a host, so that its limit holds', () => {
    const { hosts } = open()
    hosts.setWork(a, 10)
    for (let request = 0; request < 100; request++)
      hosts.seen({ origin: a, kind: 'repo', status: 200, rateLimit: {}, requestedAtMs: 0, isRedirected: true })
    const next = hosts.next()
    expect('waitMs' in next ? next.waitMs : 0).toBeGreaterThan(4_500)
  })

  it('leaves a host alone for as long as a 503 says, and goes on at the same pace', () => {
    const { hosts } = open()
    hosts.setWork(a, 10)
    const before = hosts.describe()[0]?.requestsPerSecond
    const seen = { origin: a, kind: 'repo', requestedAtMs: 0 } as const
    hosts.seen({ ...seen, status: 503, rateLimit: {} })
    hosts.seen({ ...seen, status: 500, rateLimit: { retryAfterMs: 900_000 } })
    expect(hosts.next()).toEqual({ origin: a })
    hosts.seen({ ...seen, status: 503, rateLimit: { retryAfterMs: 60_000 } })
    expect(hosts.next()).toEqual({ waitMs: 60_000 })
    expect(hosts.describe()[0]?.requestsPerSecond).toBe(before)
  })

  it('takes back a turn that was not used', () => {
    const { hosts, take } = open()
    hosts.setWork(a, true)
    for (let round = 0; round < 50; round++) {
      expect(take()).toEqual([a])
      hosts.finished(a, 'unused')
    }
    hosts.setWork(a, false)
    expect(take()).toEqual([])
  })

  it('lets huge downloads leave their slot of the host, up to the lane', () => {
    const { hosts, take } = open({ hostConcurrency: 4, limits: unpacedHosts })
    hosts.setWork(a, 1000)
    expect(take()).toHaveLength(4)
    for (let huge = 0; huge < 16; huge++) {
      expect(hosts.grewHuge(a)).toBe(true)
      expect(take()).toHaveLength(1)
    }
    expect(hosts.grewHuge(a)).toBe(false)
    for (let huge = 0; huge < 16; huge++) hosts.finished(a, 'ok', { huge: true })
    expect(hosts.describe()[0]).toMatchObject({ huge: 0, inFlight: 4 })
    expect(hosts.grewHuge(a)).toBe(true)
  })

  it('takes up after a restart what it knew before', () => {
    const { hosts } = open()
    const cooling = { origin: a, limit: undefined, windowMs: 0, deadSinceMs: -3600_000, coolUntilMs: 60_000 }
    hosts.restore(cooling)
    hosts.restore({ origin: b, limit: 100, windowMs: 100_000, deadSinceMs: undefined, coolUntilMs: undefined })
    hosts.setWork(a, 10)
    expect(hosts.next()).toEqual({ waitMs: 60_000 })
    expect(hosts.describe()[1]?.requestsPerSecond).toBeLessThan(1)
  })

  it('does not hold against a host that comes back what it did before another process had it', () => {
    const { hosts } = open({ limits: unpacedHosts })
    hosts.setWork(a, 10)
    const failedHere = () => hosts.describe().find(({ origin }) => origin === a)?.failedHere
    for (let failure = 0; failure < 5; failure++) {
      expect(hosts.next()).toEqual({ origin: a })
      hosts.finished(a, { error: new IndexerError('ConnectFailed', 'refused') })
    }
    expect(failedHere()).toBe(true)
    const well = { limit: undefined, windowMs: 0, deadSinceMs: undefined, coolUntilMs: undefined }
    hosts.restore({ origin: a, ...well, takenOver: true })
    expect(failedHere()).toBe(false)
  })

  it('forgets idle hosts when strangers name too many, and none that is cooling or has work', () => {
    const { hosts } = open({ limits: { maxHosts: 100 } })
    hosts.setWork(a, 10)
    hosts.restore({ origin: b, limit: undefined, windowMs: 0, deadSinceMs: 0, coolUntilMs: 60_000 })
    for (let index = 0; index < 10_000; index++) hosts.setWork(`https://h${index}.example`, 0)
    const origins = hosts.describe().map(({ origin }) => origin)
    expect(origins.length).toBeLessThanOrEqual(100)
    expect(origins).toContain(a)
    expect(origins).toContain(b)
  })

  it('takes up many hosts that all have work in no time, and forgets them when they have none', () => {
    const { hosts } = open()
    const startedMs = performance.now()
    for (let index = 0; index < 60_000; index++) hosts.setWork(`https://h${index}.example`, true)
    expect(performance.now() - startedMs).toBeLessThan(20_000) // a second; when all were looked through for each, a minute
    for (let index = 0; index < 60_000; index++) hosts.setWork(`https://h${index}.example`, 0)
    for (let index = 60_000; index < 120_000; index++) hosts.setWork(`https://h${index}.example`, 0)
    expect(hosts.describe().length).toBeLessThanOrEqual(20_000)
  })
})

it('the heap gives its items in order, whatever was taken out of its middle', () => {
  const random = randomFrom(Number(process.env.SEED ?? 1))
  const heap = new Heap<{ place: number; value: number }>((one, other) => one.value < other.value)
  const items = Array.from({ length: 500 }, () => ({ place: -1, value: random() }))
  for (const item of items) heap.add(item)
  const kept = items.filter(() => random() < 0.6)
  for (const item of items) if (!kept.includes(item)) heap.remove(item)
  const order: number[] = []
  for (let first = heap.first(); first; first = heap.first()) {
    order.push(first.value)
    heap.remove(first)
  }
  expect(order).toEqual(kept.map(({ value }) => value).sort((one, other) => one - other))
  expect(heap.size).toBe(0)
})
