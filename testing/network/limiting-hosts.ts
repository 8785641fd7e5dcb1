// Fake hosts that limit getRepo, or a relay that limits its listings, as the reference PDS does: so many in a window, told in headers,
// 429 past it.
// In: a network. Out: how often they had to refuse.
import type { ServerRole } from 'indexer/demo/network.ts'
import { type DemoRequest, json, type Reply } from 'indexer/demo/server.ts'
import type { FakeNetwork } from './fakes.ts'

export interface LimitingHosts {
  readonly refused: number
}

/** Takes the network's `intercept`; one limit for each host. */
export function limitHosts(
  network: FakeNetwork,
  { limit, windowSeconds, of = 'pds' }: { limit: number; windowSeconds: number; of?: 'pds' | 'relay' },
): LimitingHosts {
  const windows = new Map<string, { left: number; endsMs: number }>()
  let refused = 0
  network.intercept = async (request: DemoRequest, role: ServerRole): Promise<Reply | undefined> => {
    const isGetRepo = request.method === 'com.atproto.sync.getRepo'
    if (role.kind !== of || isGetRepo !== (of === 'pds')) return undefined
    const server = role.kind === 'pds' ? `pds ${role.index}` : role.kind
    let window = windows.get(server)
    if (window === undefined || Date.now() >= window.endsMs) {
      window = { left: limit, endsMs: Date.now() + windowSeconds * 1000 }
      windows.set(server, window)
    }
    window.left--
    const headers = {
      'ratelimit-limit': String(limit),
      'ratelimit-policy': `${limit};w=${windowSeconds}`,
      'ratelimit-reset': String(Math.ceil(window.endsMs / 1000)),
      'ratelimit-remaining': String(Math.max(0, window.left)),
    }
    if (window.left >= 0) {
      const reply = await network.handle(request, role)
      return { ...reply, headers: { ...reply.headers, ...headers } }
    }
    refused++
    const retry = { ...headers, 'retry-after': String(windowSeconds) }
    return json(429, { error: 'RateLimitExceeded', message: 'Too Many Requests' }, retry)
  }
  return {
    get refused() {
      return refused
    },
  }
}
