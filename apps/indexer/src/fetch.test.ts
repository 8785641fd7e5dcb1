import { randomBytes } from 'node:crypto'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { gzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { fetchRepo } from './fetch.ts'
import type { FetchContext, ResponseSeen } from './fetch-xrpc.ts'
import { openTestHttp, startTestServer, until } from './http-test-server.ts'

const did = 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa'
const car = randomBytes(200_000)

async function fetchFrom(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
  context: Partial<FetchContext> = {},
  since?: string,
): Promise<{ bytes: Buffer; asked: string[]; seen: ResponseSeen[] }> {
  await using server = await startTestServer(handler)
  await using http = openTestHttp()
  const seen: ResponseSeen[] = []
  const chunks: Uint8Array[] = []
  const repo = { host: server.origin, did, since }
  for await (const chunk of fetchRepo(repo, { http, onResponse: (one) => seen.push(one), ...context })) {
    chunks.push(chunk)
  }
  return { bytes: Buffer.concat(chunks), asked: server.asked, seen }
}

function answerJson(status: number, body: unknown, headers: Record<string, string> = {}) {
  return (_request: IncomingMessage, response: ServerResponse) =>
    void response
      .writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers })
      .end(JSON.stringify(body))
}

describe('fetchRepo', () => {
  it('streams the repo, decoded, and asks for nothing else', async () => {
    const { bytes, asked } = await fetchFrom((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/vnd.ipld.car; version=1', 'content-encoding': 'gzip' })
      response.end(gzipSync(car))
    })
    expect(bytes.equals(car)).toBe(true)
    expect(asked).toEqual([`/xrpc/com.atproto.sync.getRepo?did=${encodeURIComponent(did)}`])
  })

  it('asks for what is newer than a rev', async () => {
    const { asked } = await fetchFrom((_request, response) => void response.end(car), {}, '3kabc')
    expect(asked[0]).toContain('&since=3kabc')
  })

  it('asks nothing before its first chunk is wanted', async () => {
    await using server = await startTestServer((_request, response) => void response.end(car))
    await using http = openTestHttp()
    await fetchRepo({ host: server.origin, did }, { http }).return()
    expect(server.asked).toEqual([])
  })

  it('frees its connection when the reader leaves', async () => {
    await using server = await startTestServer((_request, response) => void response.write(car))
    await using http = openTestHttp({ limits: { bodyIdleTimeoutMs: 60_000 } })
    for await (const chunk of fetchRepo({ host: server.origin, did }, { http })) {
      expect(chunk.length).toBeGreaterThan(0)
      break
    }
    await until(() => server.openSockets() === 0)
  })

  it('frees its connection when it is aborted, and throws the reason of the abort', async () => {
    await using server = await startTestServer((_request, response) => void response.write(car))
    await using http = openTestHttp({ limits: { bodyIdleTimeoutMs: 60_000, minimumRateWindowMs: 60_000 } })
    const abort = new AbortController()
    const reason = new Error('drain')
    const reading = async () => {
      for await (const _ of fetchRepo({ host: server.origin, did }, { http, signal: abort.signal })) {
        setTimeout(() => abort.abort(reason), 20)
      }
    }
    await expect(reading()).rejects.toBe(reason)
    await until(() => server.openSockets() === 0)
  })

  it('stops at the cap of its context', async () => {
    const serve = (_request: IncomingMessage, response: ServerResponse) => void response.end(car)
    await expect(fetchFrom(serve, { maxBytes: 100_000 })).rejects.toMatchObject({ code: 'BodyTooBig' })
  })

  it('follows a redirect within its host and reports both answers', async () => {
    const { bytes, seen } = await fetchFrom((request, response) => {
      if (request.url?.endsWith('&here')) response.writeHead(200, { 'ratelimit-limit': '6000' }).end(car)
      else response.writeHead(302, { location: `${request.url}&here`, 'ratelimit-limit': '50' }).end()
    })
    expect(bytes.equals(car)).toBe(true)
    expect(seen.map(({ kind, status, rateLimit }) => ({ kind, status, rateLimit }))).toEqual([
      { kind: 'repo', status: 302, rateLimit: { limit: 50 } },
      { kind: 'repo', status: 200, rateLimit: { limit: 6000 } },
    ])
  })

  it('is not led to another host, where no turn was taken', async () => {
    await using other = await startTestServer((_request, response) => void response.end(car))
    const seen: ResponseSeen[] = []
    const redirect = (request: IncomingMessage, response: ServerResponse) =>
      void response.writeHead(302, { location: other.origin + request.url }).end()
    await expect(fetchFrom(redirect, { onResponse: (one) => seen.push(one) })).rejects.toMatchObject({
      code: 'RedirectElsewhere',
      details: { to: other.origin },
    })
    expect(other.asked).toEqual([])
    expect(seen).toHaveLength(1)
  })
})

describe('an answer that is no repo', () => {
  it.each([
    ['RepoNotFound', 400, 'RepoNotFound'],
    ['RepoNotFound', 404, 'RepoNotFound'],
    ['RepoDeactivated', 400, 'RepoDeactivated'],
    ['RepoTakendown', 400, 'RepoTakendown'],
    ['RepoSuspended', 400, 'RepoSuspended'],
    ['InvalidRequest', 400, 'XrpcRefused'],
    ['AuthMissing', 401, 'HostRefused'],
    ['Forbidden', 403, 'HostRefused'],
    ['RateLimitExceeded', 429, 'RateLimited'],
    ['InternalServerError', 500, 'HostError'],
    ['UpstreamFailure', 502, 'HostError'],
    ['RepoNotFound', 503, 'HostError'],
  ])('%s with status %d is %s', async (error, status, code) => {
    const serve = answerJson(status, { error, message: 'because' })
    await expect(fetchFrom(serve)).rejects.toMatchObject({ code, details: { status, error } })
  })

  it.each([
    [400, 'BadResponse'],
    [403, 'HostRefused'],
    [404, 'BadResponse'],
    [408, 'HeadersTimeout'],
    [429, 'RateLimited'],
    [500, 'HostError'],
    [503, 'HostError'],
  ])('HTML with status %d is %s', async (status, code) => {
    const serve = (_request: IncomingMessage, response: ServerResponse) =>
      void response.writeHead(status, { 'content-type': 'text/html' }).end('<h1>It works!</h1>')
    await expect(fetchFrom(serve)).rejects.toMatchObject({ code })
  })

  it.each(['text/html; charset=utf-8', 'application/json'])('%s with status 200 is a bad response', async (type) => {
    const serve = (_request: IncomingMessage, response: ServerResponse) =>
      void response.writeHead(200, { 'content-type': type }).end('<h1>Parked</h1>')
    await expect(fetchFrom(serve)).rejects.toMatchObject({ code: 'BadResponse' })
  })

  it('429 says when to come back', async () => {
    const reset = String(Math.ceil(Date.now() / 1000) + 60)
    const byHeader = await fetchFrom(answerJson(429, {}, { 'retry-after': '7' })).catch((error: unknown) => error)
    const byReset = await fetchFrom(answerJson(429, {}, { 'ratelimit-reset': reset })).catch((error: unknown) => error)
    for (const [error, seconds] of [
      [byHeader, 7],
      [byReset, 60],
    ]) {
      expect(error).toMatchObject({ code: 'RateLimited', details: { retryAtMs: expect.any(Number) } })
      expect(Math.abs((retryAtMs(error) - Date.now()) / 1000 - Number(seconds))).toBeLessThan(3)
    }
  })

  it('with an error body that is endless, broken or of another shape is judged by its status', async () => {
    const endless = (_request: IncomingMessage, response: ServerResponse) => {
      response.writeHead(400, { 'content-type': 'application/json' })
      const more = () => {
        while (response.write(' '.repeat(65536)));
      }
      response.on('drain', more)
      more()
    }
    const cut = (_request: IncomingMessage, response: ServerResponse) => {
      response.writeHead(500, { 'content-type': 'application/json', 'content-length': '100' }).write('{')
      setTimeout(() => response.destroy(), 10)
    }
    await expect(fetchFrom(endless)).rejects.toMatchObject({ code: 'BadResponse' })
    await expect(fetchFrom(cut)).rejects.toMatchObject({ code: 'HostError' })
    await expect(fetchFrom(answerJson(400, ['no', 'object']))).rejects.toMatchObject({ code: 'BadResponse' })
    await expect(fetchFrom(answerJson(400, { error: 7 }))).rejects.toMatchObject({ code: 'BadResponse' })
  })
})

function retryAtMs(error: unknown): number {
  if (!(error instanceof Error) || !('details' in error)) return Number.NaN
  const { details } = error
  if (typeof details !== 'object' || details === null || !('retryAtMs' in details)) return Number.NaN
  return Number(details.retryAtMs)
}
