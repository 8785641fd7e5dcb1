// A host of the public network for tests: https://pds.example, behind a proxy on loopback, so that nothing but what it names is private.
// In: what it answers. Out: the proxy to give to openHttp. Its certificate is its own authority, trusted by this process from then on.
import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import { type AddressInfo, connect, type Server } from 'node:net'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'

export interface TestTlsHost extends AsyncDisposable {
  proxy: { httpProxy: string; httpsProxy: string; noProxy: string }
  /** Names and ports that the proxy was asked for. */
  tunnels: string[]
}

export async function startTlsHost(handler: RequestListener): Promise<TestTlsHost> {
  setDefaultCACertificates([...getCACertificates('default'), certificate])
  const host = createTlsServer({ key, cert: certificate }, handler)
  const port = await listen(host)
  const tunnels: string[] = []
  const proxy = createServer()
  proxy.on('connect', (request, client) => {
    tunnels.push(request.url ?? '')
    const tunnel = connect(port, '127.0.0.1', () => {
      client.write('HTTP/1.1 200 Connection Established\r\n\r\n')
      tunnel.pipe(client).pipe(tunnel)
    })
    for (const socket of [tunnel, client]) socket.on('error', () => tunnel.destroy())
  })
  const url = `http://127.0.0.1:${await listen(proxy)}`
  return {
    proxy: { httpProxy: url, httpsProxy: url, noProxy: '' },
    tunnels,
    async [Symbol.asyncDispose]() {
      proxy.close()
      host.close()
      host.closeAllConnections()
      proxy.closeAllConnections()
    },
  }
}

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

/** Secret to nobody: of tests, for a name that no network has. */
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgUdA6RsmrAFgvUTxk
tTo7Kfgoixmqn1Wuj9qfeNFb8RShRANCAATvW0r53QE2J33EniGUowMCpOp2sDQl
7c6k1zwgylq1B8jgi2ZMskC8oBfLbZXQuGmwW2BCbZpVxNQp1a/8pGv0
-----END PRIVATE KEY-----
`

const certificate = `-----BEGIN CERTIFICATE-----
MIIBmzCCAUGgAwIBAgIUFkNGeZ5KVbO65gk+N1P+Pkd4aeQwCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLcGRzLmV4YW1wbGUwIBcNMjYxMTI1MjAyNzU2WhgPMjEyNjEx
MDEyMDI3NTZaMBYxFDASBgNVBAMMC3Bkcy5leGFtcGxlMFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAE71tK+d0BNid9xJ4hlKMDAqTqdrA0Je3OpNc8IMpatQfI4Itm
TLJAvKAXy22V0LhpsFtgQm2aVcTUKdWv/KRr9KNrMGkwHQYDVR0OBBYEFJowLFSd
9SoUFAsk91+so8ZX9bWcMB8GA1UdIwQYMBaAFJowLFSd9SoUFAsk91+so8ZX9bWc
MA8GA1UdEwEB/wQFMAMBAf8wFgYDVR0RBA8wDYILcGRzLmV4YW1wbGUwCgYIKoZI
zj0EAwIDSAAwRQIhAJRpisoY5rTKG1GVrqj997nH2f+b8N28zJS7u3I2VtP3AiAK
aoxymDUGTb+ffCk2L/1jCDtWJIWw0nmTEimCrNz16w==
-----END CERTIFICATE-----
`
