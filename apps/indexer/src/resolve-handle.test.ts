import { expect, test } from 'vitest'
import { openTestHttp, startTestServer } from './http-test-server.ts'
import { createHandleResolver, type ResolveHandle } from './resolve-handle.ts'
import { createLookup } from './safe-lookup.ts'
import { startDns } from './testing-dns.ts'

const did = 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa'
const other = 'did:plc:bbbbbbbbbbbbbbbbbbbbbbbb'

/** `records` of DNS by name, and what every domain answers at its well-known address. */
async function resolving<Answer>(
  records: Parameters<typeof startDns>[0],
  domain: { status: number; body: string },
  use: (resolve: ResolveHandle, asked: string[]) => Promise<Answer>,
): Promise<Answer> {
  await using dns = await startDns(records)
  await using server = await startTestServer((_request, response) => {
    response.writeHead(domain.status, { 'content-type': 'text/plain' })
    response.end(domain.body)
  })
  await using http = openTestHttp()
  const wellKnownUrl = (handle: string) => `${server.origin}/${handle}`
  return await use(
    createHandleResolver(http, { dnsServers: dns.servers, dnsTimeoutMs: 200, wellKnownUrl }),
    server.asked,
  )
}

const nowhere = { status: 404, body: 'Not found' }

test('a handle is found by its TXT record, and its domain is not asked', async () => {
  await resolving(
    { '_atproto.alice.example': [`did=${did}`] },
    { status: 200, body: other },
    async (resolve, asked) => {
      expect(await resolve('alice.example')).toBe(did)
      expect(asked).toEqual([])
    },
  )
})

test('without a record its domain says which DID it is', async () => {
  await resolving({}, { status: 200, body: `${did}\n` }, async (resolve, asked) => {
    expect(await resolve('alice.example')).toBe(did)
    expect(asked).toEqual(['/alice.example'])
  })
})

test('records that contradict each other are no answer, other TXT records say nothing', async () => {
  const name = '_atproto.alice.example'
  await resolving({ [name]: [`did=${did}`, `did=${other}`] }, nowhere, async (resolve) => {
    await expect(resolve('alice.example')).rejects.toMatchObject({ code: 'HandleNotFound' })
  })
  await resolving({ [name]: ['v=spf1 -all', `did=${did}`] }, nowhere, async (resolve) => {
    expect(await resolve('alice.example')).toBe(did)
  })
})

test.each([
  [nowhere, 'HandleNotFound'],
  [{ status: 200, body: '<!doctype html>' }, 'HandleNotFound'],
  [{ status: 200, body: 'x'.repeat(1_000_000) }, 'HandleNotFound'],
  [{ status: 503, body: '' }, 'HostError'],
  [{ status: 429, body: '' }, 'RateLimited'],
])('a domain that answers otherwise gives a coded error: %o', async (domain, code) => {
  await resolving({}, domain, async (resolve) => {
    await expect(resolve('alice.example')).rejects.toMatchObject({ code })
  })
})

test.each(['silent', 'failing'] as const)(
  'a %s DNS server may know a record, whatever the domain answers',
  async (dns) => {
    const records = { '_atproto.alice.example': dns }
    await resolving(records, nowhere, async (resolve) => {
      await expect(resolve('alice.example')).rejects.toMatchObject({ code: 'DnsFailed' })
    })
    await resolving(records, { status: 200, body: did }, async (resolve) => {
      expect(await resolve('alice.example')).toBe(did)
    })
  },
)

test('a domain that wants to be left alone says until when', async () => {
  await using dns = await startDns({})
  await using server = await startTestServer((_request, response) => {
    response.writeHead(429, { 'retry-after': '60' })
    response.end()
  })
  await using http = openTestHttp()
  const resolve = createHandleResolver(http, { dnsServers: dns.servers, wellKnownUrl: () => server.origin })
  const error = await resolve('alice.example').catch((error: unknown) => error)
  expect(error).toMatchObject({ code: 'RateLimited', details: { retryAtMs: expect.any(Number) } })
})

test('a domain in the private network is not asked', async () => {
  await using server = await startTestServer((_request, response) => void response.end(did))
  await using http = openTestHttp({ allowPrivateHosts: false })
  const wellKnownUrl = () => server.origin.replace('http:', 'https:')
  const resolve = createHandleResolver(http, { dnsServers: ['127.0.0.1:1'], wellKnownUrl })
  await expect(resolve('alice.example')).rejects.toMatchObject({ code: 'HandleNotFound' })
  expect(server.asked).toEqual([])
})

test('a domain that does not exist names nobody; one that DNS was not asked about may', async () => {
  await using dns = await startDns({})
  await using http = openTestHttp({ lookup: createLookup({ servers: dns.servers }) })
  const answering = createHandleResolver(http, { dnsServers: dns.servers })
  await expect(answering('alice.example')).rejects.toMatchObject({ code: 'HandleNotFound' })
  const unanswered = createHandleResolver(http, { dnsServers: ['127.0.0.1:1'] })
  await expect(unanswered('alice.example')).rejects.toMatchObject({ code: 'DnsFailed' })
})
