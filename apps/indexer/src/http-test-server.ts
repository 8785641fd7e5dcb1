// A small HTTP server for tests that misbehaves as its handler says. In: a handler. Out: its origin, its open sockets and
// the requests it saw. Closing it breaks whatever is still open.
// Beside it what the tests of http, fetch and resolve share.
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo, LookupFunction, Socket } from 'node:net'
import { type Http, type HttpAnswer, type HttpOptions, openHttp } from './http.ts'

export interface TestServer extends AsyncDisposable {
  origin: string
  port: number
  /** Paths asked, in order. */
  asked: string[]
  requests: IncomingMessage[]
  openSockets(): number
  close(): Promise<void>
}

export async function startTestServer(
  handler: (request: IncomingMessage, response: ServerResponse, server: TestServer) => void,
): Promise<TestServer> {
  const sockets = new Set<Socket>()
  const listener: RequestListener = (request, response) => {
    testServer.asked.push(request.url ?? '')
    testServer.requests.push(request)
    response.on('error', () => undefined)
    handler(request, response, testServer)
  }
  const server = createServer(listener)
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const port = portOf(server.address())
  const close = async () => {
    for (const socket of sockets) socket.destroy()
    await new Promise((resolve) => server.close(resolve))
  }
  const testServer: TestServer = {
    origin: `http://127.0.0.1:${port}`,
    port,
    asked: [],
    requests: [],
    openSockets: () => sockets.size,
    close,
    [Symbol.asyncDispose]: close,
  }
  return testServer
}

function portOf(address: AddressInfo | string | null): number {
  if (address === null || typeof address === 'string') throw new Error('the server listens on no port')
  return address.port
}

/** Short enough for tests, long enough for a busy machine. */
const fastLimits = {
  connectTimeoutMs: 500,
  headersTimeoutMs: 300,
  bodyIdleTimeoutMs: 400,
  minimumRateWindowMs: 200,
  bodyTimeoutMs: 60_000,
  maxRedirects: 3,
}

/** Loopback allowed, no proxy of the environment, fast limits. */
export function openTestHttp(options: Partial<HttpOptions> = {}): Http {
  return openHttp({
    version: '1.2.3',
    allowPrivateHosts: true,
    ...options,
    limits: { ...fastLimits, ...options.limits },
  })
}

export async function readAll(answer: HttpAnswer): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of answer.body) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Every name has this address. */
export function fakeDns(...addresses: string[]): LookupFunction {
  return (_name, _options, callback) =>
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    )
}

export async function until(condition: () => boolean): Promise<void> {
  for (let tries = 0; !condition(); tries++) {
    if (tries > 200) throw new Error('the condition did not come true in 2 s')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

export function trickle(response: ServerResponse, everyMs: number): void {
  const timer = setInterval(() => response.write('x'), everyMs)
  response.on('close', () => clearInterval(timer))
}

/** As fast as it is read. */
export function sendForEver(response: ServerResponse, begin: Uint8Array, next: () => Uint8Array): void {
  const more = () => {
    while (response.write(next()));
  }
  response.on('drain', more)
  if (response.write(begin)) more()
}
