// The hosts of bench:hosts: sizes, limits, latencies and what befalls them, all from one seed. In: a seed and scales.
// Out: plain data for the virtual and the real run. The scales make repos fewer, time shorter and windows finer.

export interface BenchHost {
  repos: number
  /** Requests allowed in any `windowMs`. */
  limit: number
  windowMs: number
  /** `fixed`: a window begins with a request and is counted down, as the reference PDS does; `sliding`: every window. */
  limiter: 'fixed' | 'sliding'
  /** Service time; each request takes between half and one and a half of it. */
  latencyMs: number
  /** A request is counted this much after it was sent, give or take a half. */
  distanceMs: number
  /** From then on another limit, with nothing counted: the host was started anew. In order. */
  changes: { atMs: number; limit: number }[]
  /** It refuses connections, or, if silent, lets them time out. In order. */
  deaths: { fromMs: number; toMs: number; silent: boolean }[]
}

export interface Population {
  hosts: BenchHost[]
  failureShare: number
  maxInFlight: number
  /** A failed repo waits this long. */
  retryMs: number
  /** What a request to a silent host costs. */
  timeoutMs: number
  timeScale: number
}

export interface PopulationOptions {
  seed: number
  hosts?: number
  /** Largest host; sizes are even on a logarithmic scale from 1 to this. */
  maxRepos?: number
  /** Below 1, everything happens faster: rates are higher, latencies lower. */
  timeScale?: number
  /** Below 1, windows are shorter and have fewer requests, at the same rate. */
  windowScale?: number
}

export function createPopulation(options: PopulationOptions): Population {
  const { seed, hosts: count = 100, maxRepos = 1_000_000, timeScale = 1, windowScale = 1 } = options
  const random = randomFrom(seed)
  const between = (low: number, high: number) => low * (high / low) ** random()
  const hosts: BenchHost[] = []
  for (let index = 0; index < count; index++) {
    const size = Math.round(between(1, maxRepos))
    const repos = index === 0 ? maxRepos : index === 1 ? 1 : size // the ends of the range are always there
    const { requests, seconds } = limits[Math.floor(random() * limits.length)] ?? { requests: 6000, seconds: 300 }
    const latencyMs = between(30, 5000)
    const host: BenchHost = {
      repos,
      limit: Math.round(requests * windowScale),
      windowMs: seconds * 1000 * windowScale * timeScale,
      limiter: random() < 0.7 ? 'fixed' : 'sliding',
      latencyMs: latencyMs * timeScale,
      distanceMs: Math.min(latencyMs / 3, between(5, 100)) * timeScale,
      changes: [],
      deaths: [],
    }
    befall(host, random, timeScale)
    hosts.push(host)
  }
  return {
    hosts,
    failureShare: 0.05,
    maxInFlight: 256,
    retryMs: 30_000 * timeScale,
    timeoutMs: 10_000 * timeScale,
    timeScale,
  }
}

/** mulberry32: small, good enough, and the same everywhere. */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Half of the hosts allow what the reference PDS does. */
const limits = [
  { requests: 6000, seconds: 300 },
  { requests: 6000, seconds: 300 },
  { requests: 6000, seconds: 300 },
  { requests: 3000, seconds: 300 },
  { requests: 12_000, seconds: 300 },
  { requests: 600, seconds: 60 },
]

/** A fifth of the hosts change their limit; of those with an hour of work or more, a third die and return. */
function befall(host: BenchHost, random: () => number, timeScale: number): void {
  const theoryMs = (host.repos / host.limit) * host.windowMs
  if (random() < 0.2) {
    host.changes.push({ atMs: theoryMs * (0.1 + 0.3 * random()), limit: Math.ceil(host.limit / 2) })
    host.changes.push({ atMs: theoryMs * (0.5 + 0.3 * random()), limit: host.limit * 2 })
  }
  if (theoryMs >= 3600_000 * timeScale && random() < 0.35) {
    const fromMs = theoryMs * (0.1 + 0.5 * random())
    const lastsMs = (60_000 + 1140_000 * random()) * timeScale
    host.deaths.push({ fromMs, toMs: fromMs + lastsMs, silent: random() < 0.5 })
  }
}
