// Rows in Postgres' binary COPY format: key, cid and ready-made fields in, buffers out. One copy per row, no object per row.
// A row is: int16 number of fields, then each field as int32 length and bytes.
export interface RowShape {
  /** Columns after the cid. */
  readonly columns: readonly unknown[]
  /** The key has the collection, too. */
  readonly generic: boolean
}

const firstChunkBytes = 1_024 // most repos have a handful of rows in a table
const largestChunkBytes = 262_144
const keptChunkBytes = 8_192 // of a buffer that is used again
const shortText = 64 // below this a loop is faster than the call into Buffer.write
const cidBytes = 32

export class RowBuffer {
  rows = 0
  /** Of the rows that are held. */
  bytes = 0
  readonly #prefix: Buffer
  readonly #generic: boolean
  #repo = Number.NaN
  #chunks: Buffer[] = []
  #chunk: Buffer = Buffer.allocUnsafe(firstChunkBytes)
  #at = 0
  /** The chunk that `reset` begins with. */
  #kept = this.#chunk

  constructor(table: RowShape) {
    this.#generic = table.generic
    this.#prefix = Buffer.allocUnsafe(14)
    this.#prefix.writeInt16BE(table.columns.length + (table.generic ? 4 : 3), 0)
    this.#prefix.writeInt32BE(8, 2)
  }

  /** `digest`: of the record's own CID, 32 bytes, or that CID whole. `fields`: (length, value) of each column after it. */
  appendRow(repo: number, rkey: string, digest: Uint8Array, fields: Uint8Array, collection = ''): void {
    if (repo !== this.#repo) {
      this.#prefix.writeBigInt64BE(BigInt(repo), 6)
      this.#repo = repo
    }
    this.#reserve(14 + 4 + collection.length * 3 + 4 + rkey.length * 3 + 4 + cidBytes + fields.length)
    const chunk = this.#chunk
    const start = this.#at
    chunk.set(this.#prefix, start)
    let at = start + 14
    if (this.#generic) at = writeText(chunk, collection, at)
    at = writeText(chunk, rkey, at)
    chunk.set(digest, at + 4 + cidBytes - digest.length) // what a whole CID begins with is written over
    chunk[at] = 0
    chunk[at + 1] = 0
    chunk[at + 2] = 0
    chunk[at + 3] = cidBytes
    chunk.set(fields, at + 4 + cidBytes)
    this.#at = at + 4 + cidBytes + fields.length
    this.bytes += this.#at - start
    this.rows++
  }

  /** Gives the rows away and is empty again. */
  take(): Buffer[] {
    if (this.#at > 0) this.#chunks.push(this.#chunk.subarray(0, this.#at))
    const taken = this.#chunks
    this.#chunks = []
    this.#chunk = this.#chunk.subarray(this.#at)
    this.#at = 0
    this.rows = 0
    this.bytes = 0
    return taken
  }

  /** Is empty again; writes over rows that were taken. */
  reset(): void {
    this.take()
    this.#chunk = this.#kept
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#chunk.length) return
    if (this.#at > 0) this.#chunks.push(this.#chunk.subarray(0, this.#at))
    const next = Math.min(largestChunkBytes, Math.max(firstChunkBytes, this.bytes * 2))
    this.#chunk = Buffer.allocUnsafe(Math.max(next, bytes))
    if (this.#chunk.length <= keptChunkBytes) this.#kept = this.#chunk
    this.#at = 0
  }
}

function writeText(chunk: Buffer, text: string, start: number): number {
  let at = start + 4
  if (text.length < shortText) {
    for (let index = 0; index < text.length; index++) {
      const code = text.charCodeAt(index)
      if (code > 127) {
        at = start + 4 + chunk.write(text, start + 4)
        break
      }
      chunk[at++] = code
    }
  } else {
    at += chunk.write(text, at)
  }
  chunk.writeInt32BE(at - start - 4, start)
  return at
}

/** One row of any columns, for the tables that get few: null, int8, text or bytes. */
export function encodeRow(values: readonly (null | bigint | string | Uint8Array)[]): Buffer {
  const fields = values.map((value) => {
    if (value === null) return null
    if (typeof value === 'string') return Buffer.from(value)
    if (value instanceof Uint8Array) return value
    const bytes = Buffer.allocUnsafe(8)
    bytes.writeBigInt64BE(value)
    return bytes
  })
  const row = Buffer.allocUnsafe(fields.reduce((sum, field) => sum + 4 + (field?.length ?? 0), 2))
  let at = row.writeInt16BE(fields.length)
  for (const field of fields) {
    at = row.writeInt32BE(field?.length ?? -1, at)
    if (field !== null) row.set(field, at)
    at += field?.length ?? 0
  }
  return row
}

export interface RowKey {
  collection: string | undefined
  rkey: string
  /** 32 digest bytes. */
  cid: Buffer
  /** The row's bytes. */
  bytes: Buffer
}

/** The rows of buffers that `RowBuffer` made; none of them crosses from one buffer to the next. */
export function* readRows(buffers: Iterable<Buffer>, generic: boolean): Generator<RowKey> {
  for (const buffer of buffers) {
    let start = 0
    while (start < buffer.length) {
      const fields = buffer.readInt16BE(start)
      let at = start + 14
      const texts: string[] = []
      for (let index = 0; index < (generic ? 2 : 1); index++) {
        const length = buffer.readInt32BE(at)
        texts.push(buffer.toString('utf8', at + 4, at + 4 + length))
        at += 4 + length
      }
      const cid = buffer.subarray(at + 4, at + 4 + cidBytes)
      at += 4 + cidBytes
      for (let index = generic ? 4 : 3; index < fields; index++) at += 4 + Math.max(0, buffer.readInt32BE(at))
      const rkey = texts.pop() ?? ''
      yield { collection: texts[0], rkey, cid, bytes: buffer.subarray(start, at) }
      start = at
    }
  }
}
