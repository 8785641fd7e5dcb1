// The hosts of the real run, in a worker: one HTTP server each, that behaves as its `HostTruth` says. In: a population by
// workerData. Out: their ports, then on a message their counts. In a thread of its own, so that it does not slow the client.
import { createServer, type ServerResponse } from 'node:http'
import { parentPort, workerData } from 'node:worker_threads'
import { type Population, randomFrom } from './hosts-population.ts'
import { HostTruth } from './hosts-truth.ts'

export interface RealServerData {
  population: Population
  seed: number
}

export interface RealCounts {
  requests: number
  refused: number
  overLimit: number
}

const { population, seed }: RealServerData = workerData
const random = randomFrom(seed)
const car = Buffer.alloc(400, 1)
let startMs = Number.POSITIVE_INFINITY
const truths = population.hosts.map(
  (host, index) => new HostTruth(host, { failureShare: population.failureShare, seed: seed * 1000 + index }),
)

function answer(index: number, response: ServerResponse): void {
  const plan = population.hosts[index]
  const nowMs = performance.timeOrigin + performance.now()
  const said = truths[index]?.arrive(Math.max(nowMs - startMs, 0))
  if (!plan || !said || said.fate === 'silent') return
  if (said.fate === 'unreachable') return void response.destroy()
  const { limit, remaining, windowMs, retryAfterMs } = said.rateLimit
  const headers: Record<string, string> = {
    'content-type': 'application/vnd.ipld.car',
    'ratelimit-limit': String(limit),
    'ratelimit-remaining': String(remaining),
    'ratelimit-policy': `${limit};w=${(windowMs ?? 0) / 1000}`,
  }
  if (said.resetAtMs !== undefined) headers['ratelimit-reset'] = String(Math.ceil(said.resetAtMs + startMs))
  if (retryAfterMs !== undefined) headers['retry-after'] = String(retryAfterMs / 1000)
  const status = said.fate === 'served' ? 200 : said.fate === 'refused' ? 429 : 500
  const takesMs = status === 429 ? 0 : plan.latencyMs * (0.5 + random())
  setTimeout(() => response.writeHead(status, headers).end(status === 200 ? car : ''), takesMs + 2 * plan.distanceMs)
}

const ports = await Promise.all(
  population.hosts.map(
    (_, index) =>
      new Promise<number>((resolve) => {
        const server = createServer((_request, response) => answer(index, response))
        server.keepAliveTimeout = 60_000
        server.listen(0, '127.0.0.1', 4096, () => {
          const address = server.address()
          resolve(typeof address === 'object' && address ? address.port : 0)
        })
      }),
  ),
)
parentPort?.on('message', (message: { startMs: number } | 'count') => {
  if (message === 'count') {
    const counts: RealCounts[] = truths.map(({ requests, refused, overLimit }) => ({ requests, refused, overLimit }))
    parentPort?.postMessage(counts)
  } else startMs = message.startMs
})
parentPort?.postMessage(ports)
