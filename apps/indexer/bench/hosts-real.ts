// The same crawl as the simulation's over real HTTP: the production scheduler and `fetchRepo` against servers on loopback.
// In: a population. Out: how long it took and what the servers counted.
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { fetchRepo } from '../src/fetch.ts'
import { createHosts } from '../src/hosts.ts'
import type { HostLimits } from '../src/hosts-limits.ts'
import { openHttp } from '../src/http.ts'
import { steadyNow } from '../src/steady-clock.ts'
import type { Population } from './hosts-population.ts'
import type { RealCounts, RealServerData } from './hosts-real-server.ts'

export interface RealResult {
  wallMs: number
  requests: number
  refused: number
  overLimit: number
}

export async function crawlRealHosts(
  population: Population,
  options: { seed: number; limits: Partial<HostLimits> },
): Promise<RealResult> {
  const { seed, limits } = options
  const { maxInFlight, retryMs, timeoutMs } = population
  const workerData: RealServerData = { population, seed }
  const server = new Worker(new URL('./hosts-real-server.ts', import.meta.url), { workerData })
  try {
    const [ports]: number[][] = await once(server, 'message')
    const waiting = new Map(
      (ports ?? []).map((port, i) => [`http://127.0.0.1:${port}`, population.hosts[i]?.repos ?? 0]),
    )
    await using http = openHttp({
      version: 'bench',
      allowPrivateHosts: true,
      proxy: { httpProxy: '', httpsProxy: '' },
      limits: {
        headersTimeoutMs: timeoutMs,
        maxConnectionsPerHost: maxInFlight,
        keepAliveMs: 30_000,
        keepAliveMaxMs: 30_000,
      },
    })
    const hosts = createHosts({ now: steadyNow, maxInFlight, limits })
    let left = population.hosts.reduce((sum, { repos }) => sum + repos, 0)
    let wake = () => {}

    const add = (origin: string, change: 1 | -1) => {
      const now = (waiting.get(origin) ?? 0) + change
      waiting.set(origin, now)
      hosts.setWork(origin, now)
      wake()
    }
    const fetchOne = async (origin: string) => {
      try {
        const repo = { host: origin, did: 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa' }
        for await (const chunk of fetchRepo(repo, { http, onResponse: hosts.seen })) if (chunk.length === 0) break
        hosts.finished(origin, 'ok')
        left--
      } catch (error) {
        hosts.finished(origin, { error })
        const failed = error instanceof Error && 'code' in error && error.code === 'HostError'
        if (failed) await sleep(retryMs)
        add(origin, 1)
      }
      wake()
    }

    const startMs = performance.timeOrigin + performance.now()
    server.postMessage({ startMs })
    for (const [origin, repos] of waiting) hosts.setWork(origin, repos)
    while (left > 0) {
      const next = hosts.next()
      if ('origin' in next) {
        add(next.origin, -1)
        void fetchOne(next.origin)
        continue
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, Math.min(next.waitMs ?? 1000, 1000))
        wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    const wallMs = performance.timeOrigin + performance.now() - startMs
    server.postMessage('count')
    const [counts]: RealCounts[][] = await once(server, 'message')
    return { wallMs, ...sum(counts ?? []) }
  } finally {
    await server.terminate()
  }
}

function sum(counts: RealCounts[]): RealCounts {
  const total = { requests: 0, refused: 0, overLimit: 0 }
  for (const { requests, refused, overLimit } of counts) {
    total.requests += requests
    total.refused += refused
    total.overLimit += overLimit
  }
  return total
}
