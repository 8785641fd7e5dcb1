import type { IncomingMessage, ServerResponse } from 'node:http'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { openTestHttp, startTestServer, type TestServer, trickle, until } from './http-test-server.ts'
import { createResolver, type Resolver, type ResolverLimits } from './resolve.ts'
import { documentOf } from './testing-did-document.ts'

const did = 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa'
const fastLimits = { backOffMs: 10, maxWaitMs: 2000, headersTimeoutMs: 300 }

/** From here on no time passes but this, whatever the machine does. */
function passMs(ms: number): void {
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + ms })
}

afterEach(() => {
  vi.useRealTimers()
})

function serveDocuments(request: IncomingMessage, response: ServerResponse): void {
  response.setHeader('content-type', 'application/did+ld+json')
  response.end(JSON.stringify(documentOf(decodeURIComponent((request.url ?? '').slice(1)))))
}

async function withPlc(
  handlers: ((request: IncomingMessage, response: ServerResponse, server: TestServer) => void)[],
  use: (resolver: Resolver, servers: TestServer[]) => Promise<void>,
  limits: Partial<ResolverLimits> = {},
): Promise<void> {
  await using stack = new AsyncDisposableStack()
  const http = stack.use(openTestHttp())
  const servers: TestServer[] = []
  for (const handler of handlers) servers.push(stack.use(await startTestServer(handler)))
  const plcUrls = servers.map(({ origin }) => `${origin}/`)
  await use(createResolver({ http, plcUrls, limits: { ...fastLimits, ...limits } }), servers)
}

describe('resolve', () => {
  it('finds host, key and handle, and remembers them', () =>
    withPlc([serveDocuments], async (resolver, [plc]) => {
      const expected = {
        did,
        host: 'https://pds.example',
        handle: 'alice.example',
        signingKey: expect.stringMatching(/^did:key:zQ3s/),
      }
      expect(await resolver.resolve(did)).toEqual(expected)
      expect(await resolver.resolve(did)).toEqual(expected)
      expect(plc?.asked).toEqual([`/${did}`])
    }))

  it('asks once for many who want the same DID at the same time', () =>
    withPlc([serveDocuments], async (resolver, [plc]) => {
      await Promise.all(Array.from({ length: 50 }, () => resolver.resolve(did)))
      expect(plc?.asked).toHaveLength(1)
    }))

  it('asks again on refresh, and after forget', () =>
    withPlc([serveDocuments], async (resolver, [plc]) => {
      await resolver.resolve(did)
      await resolver.resolve(did, { refresh: true })
      resolver.forget(did)
      await resolver.resolve(did)
      expect(plc?.asked).toHaveLength(3)
    }))

  it('forgets the least recently used first, and everything after its time', () =>
    withPlc(
      [serveDocuments],
      async (resolver, [plc]) => {
        const [a, b, c] = ['a', 'b', 'c'].map((letter) => `did:plc:${letter.repeat(24)}`)
        if (!a || !b || !c) throw new Error('three DIDs')
        passMs(0)
        for (const one of [a, b, a, c, a]) await resolver.resolve(one)
        expect(plc?.asked).toEqual([`/${a}`, `/${b}`, `/${c}`])
        await resolver.resolve(b)
        expect(plc?.asked).toHaveLength(4)
        passMs(301)
        await resolver.resolve(b)
        expect(plc?.asked).toHaveLength(5)
      },
      { cacheSize: 2, cacheTtlMs: 300 },
    ))

  it.each([
    [404, 'DidNotFound'],
    [410, 'DidTombstoned'],
  ])('remembers for a while that a directory said %d', (status, code) =>
    withPlc(
      [(_request, response) => void response.writeHead(status).end('{}')],
      async (resolver, [plc]) => {
        passMs(0)
        await expect(resolver.resolve(did)).rejects.toMatchObject({ code })
        await expect(resolver.resolve(did)).rejects.toMatchObject({ code })
        expect(plc?.asked).toHaveLength(1)
        passMs(101)
        await expect(resolver.resolve(did)).rejects.toMatchObject({ code })
        expect(plc?.asked).toHaveLength(2)
      },
      { negativeTtlMs: 100 },
    ),
  )

  it('tries again after 5xx, HTML and silence, then says that PLC is unavailable, and does not remember that', () => {
    const faults = [
      (response: ServerResponse) => void response.writeHead(500).end(),
      (response: ServerResponse) => void response.end('<html>'),
      () => undefined,
      (response: ServerResponse) => void response.destroy(),
    ]
    return withPlc(
      [
        (request, response, { asked }) => {
          const fault = faults[asked.length - 1]
          if (fault) fault(response)
          else serveDocuments(request, response)
        },
      ],
      async (resolver, [plc]) => {
        await expect(resolver.resolve(did)).rejects.toMatchObject({ code: 'PlcUnavailable' })
        expect(plc?.asked).toHaveLength(4)
        expect(await resolver.resolve(did)).toMatchObject({ did })
      },
    )
  })

  it('asks the second directory at once when the first fails', () =>
    withPlc(
      [(_request, response) => void response.writeHead(503).end(), serveDocuments],
      async (resolver) => {
        expect(await resolver.resolve(did)).toMatchObject({ did })
      },
      { backOffMs: 600_000 }, // were it waited for, the test would run out of its own time
    ))

  it('leaves a directory that said 429 alone until it said, and asks the other', () =>
    withPlc(
      [(_request, response) => void response.writeHead(429, { 'retry-after': '1000' }).end(), serveDocuments],
      async (resolver, [first, second]) => {
        for (const letter of ['a', 'b', 'c']) await resolver.resolve(`did:plc:${letter.repeat(24)}`)
        expect(first?.asked).toHaveLength(1)
        expect(second?.asked).toHaveLength(3)
      },
    ))

  it('says when to come back when every directory said 429, and that it asked nobody', () =>
    withPlc(
      [(_request, response) => void response.writeHead(429, { 'retry-after': '1000' }).end()],
      async (resolver, [plc]) => {
        expect(resolver.pausedUntilMs).toBe(0)
        for (const letter of ['a', 'b']) {
          await expect(resolver.resolve(`did:plc:${letter.repeat(24)}`)).rejects.toMatchObject({
            code: 'PlcUnavailable',
            details: { retryAtMs: expect.any(Number), wasAsked: false },
          })
        }
        expect(plc?.asked).toHaveLength(1)
        expect(resolver.pausedUntilMs).toBeGreaterThan(Date.now() + 990_000)
      },
    ))

  it('takes a 429 for an answer about the DID once the directory says nothing else, and comes back more and more rarely', () =>
    withPlc(
      [(_request, response) => void response.writeHead(429, { 'retry-after': '0.1' }).end()],
      async (resolver) => {
        await expect(resolver.resolve(did)).rejects.toMatchObject({
          code: 'PlcUnavailable',
          details: { wasAsked: true },
        })
        expect(resolver.pausedUntilMs).toBeGreaterThan(Date.now() + 500) // 100, 200, 400, 800
      },
    ))

  it('keeps to the limit that a directory states, and is never told 429', async () => {
    const windowMs = 1000
    let windowEndsMs = 0
    let left = 0
    let refused = 0
    await withPlc(
      [
        (request, response) => {
          if (Date.now() >= windowEndsMs) {
            windowEndsMs = Date.now() + windowMs
            left = 20
          }
          if (left === 0) refused++
          response.statusCode = left === 0 ? 429 : 200
          left = Math.max(0, left - 1)
          response.setHeader('ratelimit-remaining', left)
          response.setHeader('ratelimit-reset', (windowEndsMs - Date.now()) / 1000)
          serveDocuments(request, response)
        },
      ],
      async (resolver, [plc]) => {
        const dids = Array.from({ length: 40 }, (_, index) => `did:plc:${String(index).padStart(24, 'a')}`)
        const askers = Array.from({ length: 4 }, async () => {
          for (let next = dids.pop(); next !== undefined; next = dids.pop()) await resolver.resolve(next)
        })
        await Promise.all(askers)
        expect(refused).toBe(0)
        expect(plc?.asked).toHaveLength(40)
      },
    )
  })

  it('waits for a pause that is short', () =>
    withPlc(
      [
        (request, response, { asked }) => {
          if (asked.length === 1) response.writeHead(429, { 'retry-after': '1' }).end()
          else serveDocuments(request, response)
        },
      ],
      async (resolver) => expect(await resolver.resolve(did)).toMatchObject({ did }),
    ))

  it('refuses a document of another DID, and one that is endless', async () => {
    await withPlc(
      [(_request, response) => void response.end(JSON.stringify(documentOf('did:plc:b')))],
      async (resolver) => {
        await expect(resolver.resolve(did)).rejects.toMatchObject({
          code: 'DidDocumentInvalid',
          details: { missing: 'id' },
        })
      },
    )
    await withPlc([(_request, response) => void response.end(' '.repeat(300_000))], async (resolver) => {
      await expect(resolver.resolve(did)).rejects.toMatchObject({ code: 'PlcUnavailable' })
    })
  })

  it('lets one caller go when it is aborted, and serves the others', () =>
    withPlc(
      [(request, response) => void setTimeout(() => serveDocuments(request, response), 100)],
      async (resolver) => {
        const abort = new AbortController()
        const reason = new Error('stop')
        const aborted = resolver.resolve(did, { signal: abort.signal })
        const served = resolver.resolve(did)
        abort.abort(reason)
        await expect(aborted).rejects.toBe(reason)
        expect(await served).toMatchObject({ did })
      },
    ))

  it('asks the domain of a did:web', async () => {
    await using web = await startTestServer((_request, response, { port }) => {
      response.end(JSON.stringify(documentOf(`did:web:localhost%3A${port}`)))
    })
    await using http = openTestHttp()
    const resolver = createResolver({ http, plcUrls: [] })
    const identity = await resolver.resolve(`did:web:localhost%3A${web.port}`)
    expect(identity.host).toBe('https://pds.example')
    expect(web.asked).toEqual(['/.well-known/did.json'])
  })

  it('gives a did:web host one deadline for redirects, headers and body, and follows two redirects', async () => {
    let open = 0
    await using web = await startTestServer((request, response, { origin }) => {
      const path = request.url ?? ''
      if (path === '/slow') {
        open++
        response.on('close', () => open--)
        return trickle(response, 50)
      }
      const isFarther = request.headers.host?.startsWith('127.0.0.1') && path.startsWith('/.well-known')
      const location = `${origin}${isFarther ? '/a' : path === '/a' ? '/b' : path === '/b' ? '/slow' : '/b'}`
      setTimeout(() => response.writeHead(302, { location }).end(), 50)
    })
    await using http = openTestHttp({ limits: { maxRedirects: 5, minimumRateWindowMs: 60_000, bodyTimeoutMs: 3000 } })
    const resolver = createResolver({ http, plcUrls: [], limits: { webTimeoutMs: 400 } })
    const startedMs = Date.now()
    await expect(resolver.resolve(`did:web:localhost%3A${web.port}`)).rejects.toMatchObject({ code: 'BodyTooSlow' })
    expect(Date.now() - startedMs).toBeLessThan(1500)
    await until(() => open === 0)
    await expect(resolver.resolve(`did:web:127.0.0.1%3A${web.port}`)).rejects.toMatchObject({
      code: 'TooManyRedirects',
    })
  })

  it.each([
    'did:key:zabc',
    'did:web:localhost',
    'did:web:pds.example:path',
    'did:web:pds.example%3A444',
    'did:web:a%2Fb.example',
    'nonsense',
  ])('refuses %s', async (text) => {
    await using http = openTestHttp({ allowPrivateHosts: false })
    const resolver = createResolver({ http, plcUrls: [] })
    await expect(resolver.resolve(text)).rejects.toMatchObject({ code: 'DidInvalid' })
  })

  it('refuses a did:web that leads into our own network', async () => {
    await using http = openTestHttp({ allowPrivateHosts: false })
    await expect(createResolver({ http, plcUrls: [] }).resolve('did:web:10.0.0.1')).rejects.toMatchObject({
      code: 'AddressRefused',
    })
  })
})
