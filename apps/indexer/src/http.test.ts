import type { LookupFunction } from 'node:net'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { fakeDns, openTestHttp, readAll, startTestServer, until } from './http-test-server.ts'

describe('an abort', () => {
  it('ends a request that waits for headers, with its own reason', async () => {
    await using server = await startTestServer(() => undefined)
    await using http = openTestHttp({ limits: { headersTimeoutMs: 60_000 } })
    const reason = new Error('stop')
    const abort = new AbortController()
    setTimeout(() => abort.abort(reason), 30)
    await expect(http.get(server.origin, { signal: abort.signal })).rejects.toBe(reason)
    await until(() => server.openSockets() === 0)
  })

  it('ends a body in the middle, with its own reason', async () => {
    await using server = await startTestServer((_request, response) => void response.write('begin'))
    await using http = openTestHttp({ limits: { bodyIdleTimeoutMs: 60_000, minimumRateWindowMs: 60_000 } })
    const reason = new Error('stop')
    const abort = new AbortController()
    const answer = await http.get(server.origin, { signal: abort.signal })
    setTimeout(() => abort.abort(reason), 30)
    await expect(readAll(answer)).rejects.toBe(reason)
    await until(() => server.openSockets() === 0)
  })

  it('before the request sends nothing', async () => {
    await using server = await startTestServer((_request, response) => void response.end())
    await using http = openTestHttp()
    await expect(http.get(server.origin, { signal: AbortSignal.abort('no') })).rejects.toBe('no')
    expect(server.asked).toEqual([])
  })
})

describe('a host', () => {
  it('that sends no headers in time is given up', async () => {
    await using server = await startTestServer(() => undefined)
    await using http = openTestHttp()
    await expect(http.get(server.origin)).rejects.toMatchObject({ code: 'HeadersTimeout' })
  })

  it('that sends informational answers in place of an answer is given up in time, however often they come', async () => {
    const every = (ms: number) =>
      startTestServer(({ socket }) => {
        const timer = setInterval(() => socket.write('HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n'), ms)
        socket.on('close', () => clearInterval(timer))
      })
    await using rare = await every(250)
    await using frequent = await every(1)
    await using http = openTestHttp()
    await using patient = openTestHttp({ limits: { headersTimeoutMs: 60_000 } })
    const startedMs = performance.now()
    await expect(http.get(rare.origin)).rejects.toMatchObject({ code: 'HeadersTimeout' })
    expect(performance.now() - startedMs).toBeLessThan(1800) // eight of them take 2,000
    await expect(patient.get(frequent.origin)).rejects.toMatchObject({ code: 'HeadersTimeout' })
    await until(() => rare.openSockets() + frequent.openSockets() === 0)
  }, 10_000)

  it('that sends a few informational answers first is heard, and may take its time for the body', async () => {
    await using server = await startTestServer((_request, response) => {
      for (let hints = 0; hints < 3; hints++) response.writeEarlyHints({ link: '</a>; rel=preload' })
      response.write('begin')
      setTimeout(() => response.end(', end'), 600)
    })
    await using http = openTestHttp({ limits: { bodyIdleTimeoutMs: 60_000, minimumRateWindowMs: 60_000 } })
    expect((await readAll(await http.get(server.origin))).toString()).toBe('begin, end')
  })

  it('that closes without an answer is lost', async () => {
    await using server = await startTestServer((request) => void request.socket.destroy())
    await using http = openTestHttp()
    await expect(http.get(server.origin)).rejects.toMatchObject({ code: 'ConnectionLost' })
  })

  it('that refuses connections cannot be connected to', async () => {
    const server = await startTestServer(() => undefined)
    await server.close()
    await using http = openTestHttp()
    await expect(http.get(server.origin)).rejects.toMatchObject({ code: 'ConnectFailed' })
  })

  it('whose name does not exist fails as DNS', async () => {
    const lookup: LookupFunction = (name, _options, callback) =>
      callback(Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: 'ENOTFOUND' }), '')
    await using http = openTestHttp({ lookup, allowPrivateHosts: false })
    await expect(http.get('https://nowhere.example')).rejects.toMatchObject({ code: 'DnsFailed' })
  })

  it('that does not speak TLS fails as TLS', async () => {
    await using server = await startTestServer(() => undefined)
    await using http = openTestHttp()
    await expect(http.get(`https://127.0.0.1:${server.port}`)).rejects.toMatchObject({ code: 'TlsFailed' })
  })

  it('that answers no HTTP sent a bad response', async () => {
    await using server = await startTestServer((request) => void request.socket.end('SSH-2.0-OpenSSH_9.9\r\n\r\n'))
    await using http = openTestHttp()
    await expect(http.get(server.origin)).rejects.toMatchObject({ code: 'BadResponse' })
  })

  it('that sends endless headers sent a bad response', async () => {
    await using server = await startTestServer((request) => {
      request.socket.write(
        `HTTP/1.1 200 OK\r\n${'x-long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n'.repeat(2000)}`,
      )
    })
    await using http = openTestHttp()
    await expect(http.get(server.origin)).rejects.toMatchObject({ code: 'BadResponse' })
  })

  it('learns who we are and whom to write to', async () => {
    await using server = await startTestServer((_request, response) => void response.end())
    await using http = openTestHttp({ contact: 'mailto:me@example.org' })
    await readAll(await http.get(server.origin))
    expect(server.requests[0]?.headers['user-agent']).toBe('atproto-indexer/1.2.3 (+mailto:me@example.org)')
  })
})

describe('a private address', () => {
  it.each(['https://127.0.0.1', 'https://10.0.0.1:3000', 'https://[::1]', 'https://localhost', 'https://0x7f.1'])(
    'written as %s is refused',
    async (url) => {
      await using http = openTestHttp({ allowPrivateHosts: false })
      await expect(http.get(url)).rejects.toMatchObject({ code: 'AddressRefused' })
    },
  )

  it.each(['127.0.0.1', '10.0.0.1', '169.254.169.254', '::1', 'fd00::1'])(
    'behind a public name (%s) is refused before anything is sent',
    async (address) => {
      await using server = await startTestServer((_request, response) => void response.end())
      await using http = openTestHttp({ allowPrivateHosts: false, lookup: fakeDns(address) })
      await expect(http.get(`https://pds.example:${server.port}`)).rejects.toMatchObject({ code: 'AddressRefused' })
      expect(server.openSockets()).toBe(0)
    },
  )

  it('that a name takes later is refused: the address of each connection is checked', async () => {
    let asked = 0
    const rebinding: LookupFunction = (_name, _options, callback) => {
      if (asked++ === 0) callback(Object.assign(new Error('try again'), { code: 'EAI_AGAIN' }), '')
      else callback(null, [{ address: '127.0.0.1', family: 4 }])
    }
    await using http = openTestHttp({ allowPrivateHosts: false, lookup: rebinding })
    await expect(http.get('https://pds.example')).rejects.toMatchObject({ code: 'DnsFailed' })
    await expect(http.get('https://pds.example')).rejects.toMatchObject({ code: 'AddressRefused' })
    expect(asked).toBe(2)
  })

  it('is asked when that is allowed', async () => {
    await using server = await startTestServer((_request, response) => void response.end('ok'))
    await using http = openTestHttp({ lookup: fakeDns('127.0.0.1') })
    expect((await readAll(await http.get(`http://pds.example:${server.port}`))).toString()).toBe('ok')
  })
})

describe('a URL', () => {
  it.each([
    'http://pds.example',
    'ftp://pds.example',
    'https://user:secret@pds.example',
    'no url',
    'file:///etc/passwd',
  ])('that is %s is refused', async (url) => {
    await using http = openTestHttp({ allowPrivateHosts: false })
    await expect(http.get(url)).rejects.toMatchObject({ code: 'HostInvalid' })
  })
})

describe('a proxy of the environment', () => {
  afterEach(() => void vi.unstubAllEnvs())

  it('gets what is meant for other hosts, and loopback never', async () => {
    await using proxy = await startTestServer((_request, response) => void response.end('by proxy'))
    await using server = await startTestServer((_request, response) => void response.end('direct'))
    await using http = openTestHttp({ proxy: { httpProxy: proxy.origin, httpsProxy: proxy.origin } })
    expect((await readAll(await http.get('http://pds.example/a'))).toString()).toBe('by proxy')
    expect((await readAll(await http.get(server.origin))).toString()).toBe('direct')
    expect(proxy.asked).toEqual(['http://pds.example/a'])
  })

  it.each(['http_proxy', 'HTTP_PROXY'])('is known by %s', async (name) => {
    await using proxy = await startTestServer((_request, response) => void response.end('by proxy'))
    vi.stubEnv(name, proxy.origin)
    await using http = openTestHttp()
    expect((await readAll(await http.get('http://pds.example/a'))).toString()).toBe('by proxy')
  })

  it('is not asked for private addresses', async () => {
    await using proxy = await startTestServer((_request, response) => void response.end('by proxy'))
    await using http = openTestHttp({
      allowPrivateHosts: false,
      proxy: { httpProxy: proxy.origin, httpsProxy: proxy.origin },
    })
    await expect(http.get('https://10.0.0.1')).rejects.toMatchObject({ code: 'AddressRefused' })
    expect(proxy.openSockets()).toBe(0)
  })

  it('that refuses the tunnel makes the host unreachable', async () => {
    await using proxy = await startTestServer((_request, response) => void response.end())
    await using http = openTestHttp({ proxy: { httpsProxy: proxy.origin } })
    await expect(http.get('https://pds.example')).rejects.toMatchObject({ code: expect.stringMatching(/^Conn/) })
  })
})
