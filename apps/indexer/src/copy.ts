// Sends rows to Postgres by binary COPY over pg's own connection: a statement and buffers in, the number of rows out.
// Small buffers are gathered into frames, large ones are written as they are; a frame is always written whole, because after an
// error Postgres reads on to the end of one.
import type { ClientBase, Connection, Submittable } from 'pg'

export { RowBuffer } from './row-buffer.ts'

const frameBytes = 65_536
const nothing = Buffer.alloc(0)
const header = Buffer.concat([Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1'), Buffer.alloc(8)])
const trailer = Buffer.from([0xff, 0xff])
const frameHeadBytes = 5
const copyData = 0x64 // 'd'

/** Nothing else may be asked of the client meanwhile. Throws what Postgres answers, a `DatabaseError`. */
export async function copyIn(client: ClientBase, statement: string, buffers: Iterable<Buffer>): Promise<number> {
  const query = new CopyQuery(statement)
  client.query(query)
  const connection = await query.started
  const { stream } = connection
  const frame = new Frame()
  const put = (bytes: Buffer) => {
    if (frame.add(bytes)) return
    frame.send(stream)
    frame.add(bytes)
  }

  put(header)
  for (const buffer of buffers) {
    query.throwIfFailed()
    if (buffer.length > frameBytes / 4) {
      stream.cork()
      frame.send(stream)
      stream.write(frameHead(buffer.length))
      stream.write(buffer)
      stream.uncork()
    } else {
      put(buffer)
    }
    if (stream.writableNeedDrain) await query.drained(stream)
  }
  query.throwIfFailed()
  put(trailer)
  frame.send(stream)
  connection.endCopyFrom()
  return await query.finished
}

/** Frames that were sent, to be filled again: memory that is not given back to the collector does not make it run. */
const spareFrames: Buffer<ArrayBuffer>[] = []
const maxSpareFrames = 32

/** A CopyData message that is being filled. */
class Frame {
  #bytes = nothing
  #at = 0

  add(buffer: Buffer): boolean {
    if (this.#bytes === nothing) {
      this.#bytes = spareFrames.pop() ?? Buffer.allocUnsafeSlow(frameBytes)
      this.#at = frameHeadBytes
    }
    if (this.#at + buffer.length > this.#bytes.length) return false
    this.#bytes.set(buffer, this.#at)
    this.#at += buffer.length
    return true
  }

  /** Sends the message so far, possibly none; the next begins in other memory, for the socket reads this one later. */
  send(stream: Connection['stream']): void {
    const bytes = this.#bytes
    if (bytes === nothing) return
    this.#bytes = nothing
    bytes[0] = copyData
    bytes.writeInt32BE(this.#at - 1, 1)
    stream.write(bytes.subarray(0, this.#at), (error) => {
      if (!error && spareFrames.length < maxSpareFrames) spareFrames.push(bytes)
    })
  }
}

function frameHead(length: number): Buffer {
  const head = Buffer.allocUnsafe(frameHeadBytes)
  head[0] = copyData
  head.writeInt32BE(length + 4, 1)
  return head
}

/** What pg's client calls while it is our turn on the connection. */
class CopyQuery implements Submittable {
  readonly #text: string
  readonly #started = Promise.withResolvers<Connection & { endCopyFrom(): void }>()
  readonly #finished = Promise.withResolvers<number>()
  #failure: { error: unknown } | undefined
  #rows = 0

  constructor(text: string) {
    this.#text = text
    this.#finished.promise.catch(() => {}) // who writes meets the failure before who waits for the end
  }

  get started() {
    return this.#started.promise
  }

  get finished() {
    return this.#finished.promise
  }

  throwIfFailed(): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }

  /** A connection that breaks, or a COPY that fails, ends the wait as well. */
  async drained(stream: Connection['stream']): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const done = () => resolve()
    stream.once('drain', done).once('close', done)
    try {
      await Promise.race([promise, this.#finished.promise])
    } finally {
      stream.off('drain', done).off('close', done)
    }
    this.throwIfFailed()
  }

  submit(connection: Connection): void {
    connection.query(this.#text)
  }

  handleCopyInResponse(connection: Connection & { endCopyFrom(): void }): void {
    this.#started.resolve(connection)
  }

  handleCommandComplete({ text }: { text: string }): void {
    this.#rows = Number(text.split(' ').at(-1))
  }

  handleReadyForQuery(): void {
    this.#finished.resolve(this.#rows)
  }

  handleError(error: unknown): void {
    this.#failure = { error }
    this.#started.reject(error)
    this.#finished.reject(error)
  }
}
