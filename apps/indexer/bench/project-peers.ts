// The slow way to a row, for the bench to beat: decode the record into objects, pick the columns' values, encode them.
// Written to be quick: buffers are reused, dates parsed natively, no policy on odd values, nothing shortened: less work than
// the projector's, whose rows say the same.
import { decode as decodeAtcute } from '@atcute/cbor'
import { decode as decodeCborg } from 'cborg'
import { base32 } from 'multiformats/bases/base32'
import type { Column, Config, Table } from '../src/config.ts'

export interface Decoder {
  name: string
  decode(block: Uint8Array): unknown
  /** The binary CID of a decoded link; undefined for anything else. */
  linkBytes(value: unknown): Uint8Array | undefined
  stringify(value: unknown): string
}

export const atcute: Decoder = {
  name: '@atcute/cbor',
  decode: decodeAtcute,
  linkBytes: (value) => (isLinkWrapper(value) ? base32.decode(value.$link) : undefined),
  stringify: JSON.stringify,
}

/** With the options of @ipld/dag-cbor: strict, links as tag 42. */
export const cborg: Decoder = {
  name: 'cborg',
  decode: (block) => decodeCborg(block, cborgOptions),
  linkBytes: (value) => (value instanceof Link ? value.bytes : undefined),
  stringify: (value) => JSON.stringify(value, linkAndBytes),
}

const cborgOptions = {
  allowIndefinite: false,
  allowUndefined: false,
  allowNaN: false,
  allowInfinity: false,
  allowBigInt: true,
  strict: true,
  useMaps: false,
  rejectDuplicateMapKeys: true,
  tags: { 42: (inner: () => unknown) => decodeLink(inner()) },
}

/** As little as a link can be: multiformats' CID objects cost more. */
class Link {
  readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  toJSON(): unknown {
    return { $link: base32.encode(this.bytes) }
  }
}

function decodeLink(bytes: unknown): Link {
  if (!(bytes instanceof Uint8Array) || bytes[0] !== 0) throw new TypeError('not a link')
  return new Link(bytes.subarray(1))
}

function linkAndBytes(_key: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString('base64').replaceAll('=', '') }
  return value
}

function isLinkWrapper(value: unknown): value is { $link: string } {
  return typeof value === 'object' && value !== null && '$link' in value
}

/** One decoder with the picking and encoding that a careful programmer would write behind it. */
export class SlowProjection {
  readonly #decoder: Decoder
  readonly #tables: ReadonlyMap<string, Table>
  readonly #generic: Table | undefined
  #out: Buffer = Buffer.allocUnsafeSlow(1 << 20)
  #length = 0

  constructor(config: Config, decoder: Decoder) {
    this.#decoder = decoder
    this.#tables = new Map(config.tables.flatMap((table) => table.collections.map((nsid) => [nsid, table])))
    this.#generic = config.tables.find((table) => table.generic)
  }

  /** The fields of the row, as a view; undefined when no table wants the record. */
  project(block: Uint8Array): Uint8Array | undefined {
    const record = this.#decoder.decode(block)
    const table = this.#tables.get(String(member(record, '$type'))) ?? this.#generic
    if (table === undefined) return undefined
    this.#length = 0
    for (const column of table.columns) this.#write(column, pick(record, column))
    return this.#out.subarray(0, this.#length)
  }

  #write(column: Column, value: unknown): void {
    if (value === undefined || value === null) {
      this.#length = this.#out.writeInt32BE(-1, this.#length)
      return
    }
    const at = this.#length
    this.#length += 4
    this.#writeValue(column.type, value)
    this.#out.writeInt32BE(this.#length - at - 4, at)
  }

  #writeValue(type: Column['type'], value: unknown): void {
    const out = this.#out
    if (type === 'timestamptz') {
      const micros = (Date.parse(String(value)) - epochMs) * 1000
      const high = Math.floor(micros / 0x1_0000_0000)
      this.#length = out.writeUInt32BE(micros - high * 0x1_0000_0000, out.writeInt32BE(high, this.#length))
    } else if (type === 'jsonb') {
      this.#length += out.write(this.#decoder.stringify(value), this.#length)
    } else if (type === 'cid') {
      const bytes = typeof value === 'string' ? base32.decode(value) : this.#decoder.linkBytes(value)
      out.set(bytes ?? [], this.#length)
      this.#length += bytes?.length ?? 0
    } else if (type === 'int8') {
      this.#length = out.writeBigInt64BE(BigInt(Number(value)), this.#length)
    } else if (type === 'bool') {
      this.#length = out.writeUInt8(value === true ? 1 : 0, this.#length)
    } else if (type === 'text[]') {
      this.#writeTexts(Array.isArray(value) ? value : [])
    } else {
      this.#length += out.write(String(value), this.#length)
    }
  }

  #writeTexts(texts: readonly unknown[]): void {
    const out = this.#out
    for (const word of texts.length === 0 ? [0, 0, textOid] : [1, 0, textOid, texts.length, 1]) {
      this.#length = out.writeInt32BE(word, this.#length)
    }
    for (const text of texts) {
      const at = this.#length
      this.#length += 4 + out.write(String(text), at + 4)
      out.writeInt32BE(this.#length - at - 4, at)
    }
  }
}

const epochMs = Date.UTC(2000, 0, 1)
const textOid = 25

function pick(record: unknown, column: Column): unknown {
  for (const path of column.paths) {
    let value = record
    for (const key of path) value = member(value, key)
    if (column.part === 'cid') value = member(value, 'ref') ?? member(value, 'cid')
    else if (column.part !== undefined) value = member(value, column.part === 'mime' ? 'mimeType' : 'size')
    if (value !== undefined && value !== null) return value
  }
  return undefined
}

function member(value: unknown, key: string): unknown {
  if (typeof value !== 'object' || value === null) return undefined
  return (value as Readonly<Record<string, unknown>>)[key]
}
