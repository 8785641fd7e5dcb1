// Rows in Postgres' binary COPY format: key, cid and ready-made fields in, buffers out. One copy per row, no object per row.
// A row is: int16 number of fields, then each field as int32 length and bytes.
import type { Entry, Memory, Spares } from 'repo-stream'
import type { RowFields } from './project/answer.ts'

export interface RowShape {
  /** Columns after the cid. */
  readonly columns: readonly unknown[]
  /** The key has the collection, too. */
  readonly generic: boolean
}

// Powers of two, so that another buffer may use them again.
const firstChunkBytes = 1_024 // most repos have a handful of rows in a table
const largestChunkBytes = 262_144
const keptChunkBytes = 8_192 // of a buffer that is used again
const cidBytes = 32
const manyBytes = 256 // from here on a call into `set` and the view that it takes cost less than a loop over words

/** A stretch of memory that rows are written to. */
export interface Chunk {
  readonly bytes: Buffer
  readonly view: DataView
}

/** What a row needs of its entry. */
export type RowEntry = Pick<Entry, 'collection' | 'keyBytes' | 'rkeyFrom' | 'rkeyTo' | 'node' | 'digestFrom'>

export class RowBuffer {
  rows = 0
  /** Of the rows that are held. */
  bytes = 0
  readonly #generic: boolean
  readonly #fieldCount: number
  readonly #spare: Spares<Chunk> | undefined
  #chunks: Buffer[] = []
  #chunk = chunkOf(firstChunkBytes)
  /** Rows that were not taken yet are from `#from` to `#at` of the chunk. */
  #from = 0
  #at = 0
  /** The chunk that `reset` begins with. */
  #kept = this.#chunk
  /** Larger ones that rows were written to since then. */
  #large: Chunk[] = []

  /** `spare`: chunks of buffers that were reset, for those that grow. */
  constructor(table: RowShape, spare?: Spares<Chunk>) {
    this.#spare = spare
    this.#generic = table.generic
    this.#fieldCount = table.columns.length + (table.generic ? 4 : 3)
  }

  appendRow(repo: number, entry: RowEntry, fields: RowFields): void {
    const { collection, rkeyFrom, rkeyTo } = entry
    const fieldsBytes = fields.to - fields.from
    const collectionBytes = this.#generic ? 4 + collection.length * 3 : 0
    this.#reserve(14 + collectionBytes + 4 + rkeyTo - rkeyFrom + 4 + cidBytes + fieldsBytes)
    const { bytes, view } = this.#chunk
    const start = this.#at
    view.setInt16(start, this.#fieldCount)
    view.setInt32(start + 2, 8)
    view.setInt32(start + 6, Math.floor(repo / 0x1_0000_0000))
    view.setInt32(start + 10, repo)
    let at = start + 14
    if (this.#generic) at = writeText(bytes, collection, at)
    view.setInt32(at, rkeyTo - rkeyFrom)
    at += 4
    for (let i = rkeyFrom; i < rkeyTo; i++) bytes[at++] = entry.keyBytes[i] ?? 0
    view.setInt32(at, cidBytes)
    at += 4
    copyBytes(entry.node, entry.digestFrom, cidBytes, this.#chunk, at)
    at += cidBytes
    copyBytes(fields.memory, fields.from, fieldsBytes, this.#chunk, at)
    this.#at = at + fieldsBytes
    this.bytes += this.#at - start
    this.rows++
  }

  /** Gives the rows away and is empty again. */
  take(): Buffer[] {
    if (this.#at > this.#from) this.#chunks.push(this.#chunk.bytes.subarray(this.#from, this.#at))
    const taken = this.#chunks
    this.#chunks = []
    this.#from = this.#at
    this.rows = 0
    this.bytes = 0
    return taken
  }

  /** Is empty again; writes over rows that were taken. */
  reset(): void {
    this.take()
    for (const chunk of this.#large) this.#spare?.keep(chunk.bytes.length, chunk)
    this.#large = []
    this.#chunk = this.#kept
    this.#from = this.#at = 0
  }

  #reserve(bytes: number): void {
    const { length } = this.#chunk.bytes
    if (this.#at + bytes <= length) return
    if (this.#at > this.#from) this.#chunks.push(this.#chunk.bytes.subarray(this.#from, this.#at))
    const next = Math.min(largestChunkBytes, Math.max(firstChunkBytes, this.bytes * 2))
    const size = 2 ** (32 - Math.clz32(Math.max(next, bytes) - 1))
    this.#chunk = this.#spare?.take(size) ?? chunkOf(size)
    if (size <= keptChunkBytes) this.#kept = this.#chunk
    else this.#large.push(this.#chunk)
    this.#from = this.#at = 0
  }
}

function chunkOf(length: number): Chunk {
  const bytes = length > keptChunkBytes ? Buffer.allocUnsafeSlow(length) : Buffer.allocUnsafe(length)
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, length) }
}

function copyBytes(source: Memory, from: number, length: number, target: Chunk, to: number): void {
  if (length >= manyBytes) {
    target.bytes.set(source.bytes.subarray(from, from + length), to)
    return
  }
  let i = 0 // compiled code moves eight bytes as they are and makes no BigInt of them
  for (; i + 8 <= length; i += 8) target.view.setBigInt64(to + i, source.view.getBigInt64(from + i, true), true)
  for (; i < length; i++) target.bytes[to + i] = source.bytes[from + i] ?? 0
}

function writeText(chunk: Buffer, text: string, start: number): number {
  const at = start + 4
  const length = chunk.write(text, at)
  chunk.writeInt32BE(length, start)
  return at + length
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
