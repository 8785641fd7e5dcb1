// The HTTP edge of the demo servers: a handler (request in, reply out) becomes a listening server on 127.0.0.1.
// Handlers do no I/O of their own, so a test can wrap one to misbehave. A body that throws cuts its connection.
import { randomInt } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGzip } from 'node:zlib'

export interface DemoRequest {
  /** The NSID after `/xrpc/`, or the whole path of anything else. */
  readonly method: string
  readonly params: URLSearchParams
  readonly headers: IncomingMessage['headers']
  /** Aborted when the answer is complete, the client has gone or the server closes. */
  readonly signal: AbortSignal
}

export interface Reply {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | Iterable<Uint8Array> | AsyncIterable<Uint8Array>
}

export type Handler = (request: DemoRequest) => Reply | Promise<Reply>

export interface DemoServer {
  /** Origin, without a slash at its end. */
  readonly url: string
  /** Cuts every connection and refuses new ones. */
  close(): Promise<void>
  /** Listens again, on the same port. */
  reopen(): Promise<void>
}

const gzipFrom = 1024 // a smaller JSON answer is one packet either way

/** Below the range from which systems take the ports of outgoing connections: one could take ours while we are closed. */
const freePorts = { first: 12_000, last: 29_000 }
const maxPortAttempts = 100

/** Listens on `port` of 127.0.0.1; 0 takes a free one. */
export async function startServer(
  handler: Handler,
  options: { port?: number; gzip?: boolean } = {},
): Promise<DemoServer> {
  const server = createServer((incoming, response) => {
    answer(incoming, response).catch(() => response.destroy())
  })
  server.keepAliveTimeout = 60_000

  async function listen(port: number): Promise<number> {
    server.listen(port, '127.0.0.1', 1024)
    await once(server, 'listening')
    return port
  }

  async function listenAnywhere(): Promise<number> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await listen(randomInt(freePorts.first, freePorts.last))
      } catch (error) {
        if (attempt === maxPortAttempts) throw error
      }
    }
  }

  async function answer(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController()
    response.once('close', () => gone.abort())
    const reply = await handler(readRequest(incoming, gone.signal))
    await send(reply, response, options.gzip !== false && accepts(incoming, 'gzip'))
  }

  const port = options.port ? await listen(options.port) : await listenAnywhere()
  return {
    url: `http://127.0.0.1:${port}`,
    close: async () => {
      if (!server.listening) return
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
    reopen: async () => {
      if (!server.listening) await listen(port)
    },
  }
}

function readRequest(incoming: IncomingMessage, signal: AbortSignal): DemoRequest {
  const url = new URL(incoming.url ?? '/', 'http://localhost')
  const path = decodeURIComponent(url.pathname)
  const method = path.startsWith('/xrpc/') ? path.slice('/xrpc/'.length) : path
  return { method, params: url.searchParams, headers: incoming.headers, signal }
}

async function send(reply: Reply, response: ServerResponse, gzip: boolean): Promise<void> {
  const { body = '' } = reply
  const whole = typeof body === 'string' ? Buffer.from(body) : body
  const small = whole instanceof Uint8Array && whole.length < gzipFrom
  const headers: Record<string, string> = { ...reply.headers }
  const compress = gzip && !small && headers['content-encoding'] === undefined
  if (compress) headers['content-encoding'] = 'gzip'
  if (small && headers['content-length'] === undefined) headers['content-length'] = String(whole.length)
  response.writeHead(reply.status, headers)
  if (small) {
    response.end(whole)
    return
  }
  const chunks = Readable.from(whole instanceof Uint8Array ? [whole] : whole, { objectMode: false })
  if (compress) await pipeline(chunks, createGzip({ level: 1 }), response)
  else await pipeline(chunks, response)
}

function accepts(incoming: IncomingMessage, coding: string): boolean {
  const header = incoming.headers['accept-encoding']
  return typeof header === 'string' && header.split(',').some((part) => part.trim().split(';')[0] === coding)
}

export const json = (status: number, value: unknown, headers: Record<string, string> = {}): Reply => ({
  status,
  headers: { 'content-type': 'application/json; charset=utf-8', ...headers },
  body: JSON.stringify(value),
})

/** An XRPC error as atproto servers send it. */
export const xrpcError = (status: number, error: string, message: string): Reply => json(status, { error, message })
