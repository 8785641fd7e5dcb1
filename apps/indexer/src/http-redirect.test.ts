import { describe, expect, it } from 'vitest'
import { openTestHttp, readAll, startTestServer, trickle } from './http-test-server.ts'
import { startTlsHost } from './testing-tls.ts'

/** A handshake takes longer than the fast limits on a busy machine. */
const patient = { connectTimeoutMs: 20_000, headersTimeoutMs: 20_000 }

describe('a redirect', () => {
  it('is followed, each hop is reported, and the last one is the answer', async () => {
    await using target = await startTestServer((_request, response) => void response.end('here'))
    await using relay = await startTestServer((request, response) => {
      response.writeHead(302, { location: `${target.origin}${request.url}` }).end('elsewhere')
    })
    await using http = openTestHttp()
    const hops: string[] = []
    const answer = await http.get(`${relay.origin}/xrpc/a?b=c`, {
      onResponse: ({ url, status }) => hops.push(`${status} ${url.origin}`),
    })
    expect((await readAll(answer)).toString()).toBe('here')
    expect(answer.url.href).toBe(`${target.origin}/xrpc/a?b=c`)
    expect(hops).toEqual([`302 ${relay.origin}`, `200 ${target.origin}`])
  })

  it('may be relative', async () => {
    await using server = await startTestServer((request, response) => {
      if (request.url === '/a') response.writeHead(307, { location: '/b' }).end()
      else response.end('b')
    })
    await using http = openTestHttp()
    expect((await readAll(await http.get(`${server.origin}/a`))).toString()).toBe('b')
  })

  it('in a circle ends', async () => {
    await using server = await startTestServer((request, response) => {
      response.writeHead(302, { location: request.url ?? '/' }).end()
    })
    await using http = openTestHttp()
    await expect(http.get(server.origin)).rejects.toMatchObject({ code: 'TooManyRedirects' })
    expect(server.asked).toHaveLength(4)
  })

  it.each(['ftp://elsewhere.example', 'javascript:alert(1)', 'https://user:pw@elsewhere.example'])(
    'to %s is refused',
    async (location) => {
      await using server = await startTestServer((_request, response) => {
        response.writeHead(302, { location }).end()
      })
      await using http = openTestHttp()
      await expect(http.get(server.origin)).rejects.toMatchObject({ code: 'RedirectRefused' })
    },
  )

  it.each([
    'https://127.0.0.1/',
    'https://169.254.169.254/latest/meta-data',
    'https://[::1]/',
    'https://[::ffff:10.0.0.1]/',
    'https://localhost/',
    'https://2130706433/',
  ])('into the private network is refused: %s', async (location) => {
    await using host = await startTlsHost((_request, response) => void response.writeHead(302, { location }).end())
    await using http = openTestHttp({ allowPrivateHosts: false, proxy: host.proxy, limits: patient })
    await expect(http.get('https://pds.example/')).rejects.toMatchObject({ code: 'AddressRefused' })
    expect(host.tunnels).toEqual(['pds.example:443'])
  })

  it('to http is refused', async () => {
    const location = 'http://pds.example/'
    await using host = await startTlsHost((_request, response) => void response.writeHead(302, { location }).end())
    await using http = openTestHttp({ allowPrivateHosts: false, proxy: host.proxy, limits: patient })
    await expect(http.get('https://pds.example/')).rejects.toMatchObject({ code: 'RedirectRefused' })
  })

  it('to another public host is followed', async () => {
    await using host = await startTlsHost((request, response) => {
      if (request.url === '/there') response.end('here')
      else response.writeHead(302, { location: 'https://pds.example/there' }).end()
    })
    await using http = openTestHttp({ allowPrivateHosts: false, proxy: host.proxy, limits: patient })
    expect((await readAll(await http.get('https://pds.example/'))).toString()).toBe('here')
  })

  it('with a body that never ends is left after a little', async () => {
    await using target = await startTestServer((_request, response) => void response.end('here'))
    await using server = await startTestServer((_request, response) => {
      response.writeHead(302, { location: target.origin })
      const more = () => {
        while (response.write(Buffer.alloc(65536)));
      }
      response.on('drain', more)
      more()
    })
    await using http = openTestHttp()
    expect((await readAll(await http.get(server.origin))).toString()).toBe('here')
  })

  it('with a body that trickles does not hold us', async () => {
    await using target = await startTestServer((_request, response) => void response.end('here'))
    await using server = await startTestServer((_request, response) => {
      response.writeHead(302, { location: target.origin })
      trickle(response, 50)
    })
    await using http = openTestHttp()
    expect((await readAll(await http.get(server.origin))).toString()).toBe('here')
  })

  it('without a location is an answer like any other', async () => {
    await using server = await startTestServer((_request, response) => void response.writeHead(304).end())
    await using http = openTestHttp()
    const answer = await http.get(server.origin)
    answer.discard()
    expect(answer.status).toBe(304)
  })
})
