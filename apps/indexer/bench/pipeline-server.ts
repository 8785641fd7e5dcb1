// A bare HTTP/1.1 server for the farm: GET path in, an answer out, over node:net. It does what a server in another
// language would cost, about 20 µs a request, so that the bench's two cores are left to what it measures.
// Bodies go out chunked and without content-length, as a PDS sends its CARs.
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'

export interface Answer {
  status?: number
  type: string
  body: Buffer | Iterable<Buffer>
}

export type Answerer = (path: string) => Answer

/** Returns the origin. */
export async function listen(answer: Answerer): Promise<string> {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on('error', () => socket.destroy())
    let pending = ''
    socket.on('data', (bytes: Buffer) => {
      pending += bytes.toString('latin1')
      const end = pending.indexOf('\r\n\r\n')
      if (end < 0) return
      const path = pending.slice(4, pending.indexOf(' ', 4))
      pending = pending.slice(end + 4)
      send(socket, answer(path)).catch(() => socket.destroy())
    })
  })
  server.listen(0, '127.0.0.1', 4096)
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('listening without a port')
  return `http://127.0.0.1:${address.port}`
}

async function send(socket: Socket, { status = 200, type, body }: Answer): Promise<void> {
  const head = `HTTP/1.1 ${status} ${status === 200 ? 'OK' : 'Bad Request'}\r\ncontent-type: ${type}\r\n`
  if (Buffer.isBuffer(body)) {
    socket.write(Buffer.concat([Buffer.from(`${head}content-length: ${body.length}\r\n\r\n`), body]))
    return
  }
  let before = `${head}transfer-encoding: chunked\r\n\r\n`
  let held: Buffer[] = []
  for (const chunk of body) {
    if (held.length > 0 && !writeAll(socket, held)) await drained(socket)
    if (socket.destroyed) return
    held = [Buffer.from(`${before}${chunk.length.toString(16)}\r\n`, 'latin1'), chunk]
    before = '\r\n'
  }
  writeAll(socket, [...held, Buffer.from(`${before}0\r\n\r\n`, 'latin1')]) // a tiny repo is one write
}

/** In one call and without a copy, which was a third of what the farm took. */
function writeAll(socket: Socket, pieces: readonly Buffer[]): boolean {
  socket.cork()
  const hasRoom = pieces.map((piece) => socket.write(piece)).at(-1) ?? true
  socket.uncork()
  return hasRoom
}

function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      socket.off('drain', done).off('close', done)
      resolve()
    }
    socket.once('drain', done).once('close', done)
  })
}
