// COPY between tables and files in binary without psql: what it does, by pg and our own copyIn.
import { closeSync, openSync, readSync, statSync, writeSync } from 'node:fs'
import { Client, type Submittable } from 'pg'
import { copyIn } from '../src/copy.ts'

export interface TableFile {
  table: string
  file: string
}

const headerBytes = 19
const trailerBytes = 2
const pieceBytes = 1024 * 1024

export async function copyToFiles(url: string, files: readonly TableFile[]): Promise<void> {
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    for (const { table, file } of files) {
      const handle = openSync(file, 'w')
      const query = new CopyOut(`copy ${table} to stdout (format binary)`, (bytes) => writeSync(handle, bytes))
      client.query(query)
      await query.finished
      closeSync(handle)
    }
  } finally {
    await client.end()
  }
}

/** Returns the CPU time of this process meanwhile. */
export async function copyFromFiles(url: string, files: readonly TableFile[]): Promise<number> {
  const before = process.cpuUsage()
  const client = new Client({ connectionString: url })
  await client.connect()
  try {
    for (const { table, file } of files) await copyIn(client, `copy ${table} from stdin (format binary)`, pieces(file))
  } finally {
    await client.end()
  }
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

/** The rows alone: copyIn writes header and trailer itself. */
function* pieces(file: string): Generator<Buffer> {
  const handle = openSync(file, 'r')
  const end = statSync(file).size - trailerBytes
  try {
    for (let at = headerBytes; at < end; ) {
      const piece = Buffer.allocUnsafeSlow(Math.min(pieceBytes, end - at))
      at += readSync(handle, piece, 0, piece.length, at)
      yield piece
    }
  } finally {
    closeSync(handle)
  }
}

/** What pg's client calls while it is our turn on the connection. */
class CopyOut implements Submittable {
  readonly #text: string
  readonly #write: (bytes: Buffer) => void
  readonly #finished = Promise.withResolvers<void>()

  constructor(text: string, write: (bytes: Buffer) => void) {
    this.#text = text
    this.#write = write
  }

  get finished() {
    return this.#finished.promise
  }

  submit(connection: Parameters<Submittable['submit']>[0]): void {
    connection.query(this.#text)
  }

  handleCopyData({ chunk }: { chunk: Buffer }): void {
    this.#write(chunk)
  }

  handleCommandComplete(): void {}

  handleReadyForQuery(): void {
    this.#finished.resolve()
  }

  handleError(error: unknown): void {
    this.#finished.reject(error)
  }
}
