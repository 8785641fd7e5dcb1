// A small HTTP server for tests that misbehaves as its handler says. In: a handler. Out: its origin, its open sockets and
// the requests it saw. Closing it breaks whatever is still open.
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'

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
