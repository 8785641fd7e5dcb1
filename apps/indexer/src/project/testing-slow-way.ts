// The slow way to a row, for tests: picks values out of a decoded record and applies the value policy in plain words.
// Shares no code with the projector, but for the words of short-forms.ts, which are data. `readFields` turns what the projector
// wrote into the same plain values.
import { base32 } from 'multiformats/bases/base32'
import { CID } from 'multiformats/cid'
import type { Column, ColumnType, Table } from '../config.ts'
import { projectionLimits } from './limits.ts'
import { jsonWords } from './short-forms.ts'
import { BadText, type Decoded, type DecodedMap, Float } from './testing-decode.ts'

/** Text as it is, integers and times (microseconds since 2000) as bigint, bytes as hex, jsonb as canonical text, lists as lists. */
export type Plain = null | boolean | bigint | string | Plain[]

export interface SlowRow {
  values: Plain[]
  /** `column code`, in the order of the columns. */
  oddities: string[]
}

export function slowProject(table: Table, record: DecodedMap): SlowRow {
  const oddities: string[] = []
  const values = table.columns.map((column) => {
    const { value, odd } = slowColumn(column, record)
    if (odd !== undefined) oddities.push(`${column.name} ${odd}`)
    return value
  })
  return { values, oddities }
}

interface Slow {
  value: Plain
  odd?: string | undefined
}

function slowColumn(column: Column, record: DecodedMap): Slow {
  let blocked: Slow | undefined
  for (const path of column.paths) {
    let value: Decoded | undefined = record
    for (const key of path) {
      if (!(value instanceof Map)) {
        if (value !== null && value !== undefined) blocked = wrongType
        value = undefined
        break
      }
      value = value.get(Buffer.from(key).toString('latin1'))
    }
    if (value === undefined || value === null) continue
    return column.part === undefined ? slowValue(value, column.type, column.maxBytes) : slowBlobPart(value, column)
  }
  return blocked ?? { value: null }
}

function slowBlobPart(blob: Decoded, column: Column): Slow {
  if (!(blob instanceof Map)) return column.part === 'cid' ? { value: null, odd: 'WrongType' } : { value: null }
  const value =
    column.part === 'cid'
      ? (blob.get('ref') ?? blob.get('cid'))
      : blob.get(column.part === 'mime' ? 'mimeType' : 'size')
  return value === undefined || value === null ? { value: null } : slowValue(value, column.type, column.maxBytes)
}

function slowValue(value: Decoded, type: ColumnType, maxBytes: number): Slow {
  switch (type) {
    case 'text':
    case 'at-uri':
    case 'did':
      return slowText(value, maxBytes)
    case 'int8':
      if (value instanceof Float) return { value: null, odd: 'NotAnInteger' }
      if (typeof value !== 'bigint') return wrongType
      return BigInt.asIntN(64, value) === value ? { value } : { value: null, odd: 'IntegerOutOfRange' }
    case 'bool':
      return typeof value === 'boolean' ? { value } : wrongType
    case 'timestamptz':
      return slowTime(value)
    case 'cid':
      return slowCid(value)
    case 'bytea':
      return value instanceof Uint8Array ? { value: hex(value) } : wrongType
    case 'jsonb':
      return slowJson(value)
    default:
      return slowList(value, type, maxBytes)
  }
}

const wrongType: Slow = { value: null, odd: 'WrongType' }

function slowText(value: Decoded, maxBytes: number): Slow {
  if (typeof value !== 'string' && !(value instanceof BadText)) return wrongType
  const { text, odd } = repair(value)
  const sentBytes = value instanceof BadText ? value.bytes.length : Buffer.byteLength(value)
  if (sentBytes > maxBytes || Buffer.byteLength(text) > maxBytes) {
    return { value: null, odd: maxBytes < projectionLimits.maxTextBytes ? 'TextTooLongForIndex' : 'TextTooLong' }
  }
  return { value: text, odd }
}

function repair(value: string | BadText): { text: string; odd: string | undefined } {
  const text = typeof value === 'string' ? value : value.repaired
  if (text.includes('\0')) return { text: text.replaceAll('\0', '\ufffd'), odd: 'TextNul' }
  return { text, odd: value instanceof BadText ? 'TextNotUtf8' : undefined }
}

const datetime = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(\.\d{1,20})?(Z|[+-]\d\d:\d\d)$/

function slowTime(value: Decoded): Slow {
  if (typeof value !== 'string' && !(value instanceof BadText)) return wrongType
  const malformed: Slow = { value: null, odd: 'DatetimeMalformed' }
  const parts = typeof value === 'string' ? datetime.exec(value) : null
  if (parts === null || parts[8] === '-00:00') return malformed
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts.slice(1, 7).map(Number)
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  date.setUTCHours(hour, minute, second)
  const same = [
    date.getUTCMonth() + 1,
    date.getUTCDate(),
    date.getUTCHours(),
    date.getUTCMinutes(),
    date.getUTCSeconds(),
  ]
  if (same.join() !== [month, day, hour, minute, second].join()) return malformed
  const [zoneHours = 0, zoneMinutes = 0] = parts[8] === 'Z' ? [] : (parts[8] ?? '').slice(1).split(':').map(Number)
  if (zoneHours > 23 || zoneMinutes > 59) return malformed
  const sign = parts[8]?.startsWith('-') === true ? -1 : 1
  const ms = date.getTime() - sign * (zoneHours * 60 + zoneMinutes) * 60_000
  const yearThen = new Date(ms).getUTCFullYear()
  if (yearThen < 1 || yearThen > 9999) return { value: null, odd: 'DatetimeOutOfRange' }
  const fraction = (parts[7] ?? '.').slice(1)
  const micros = BigInt(ms - Date.UTC(2000, 0, 1)) * 1000n + BigInt(fraction.slice(0, 6).padEnd(6, '0'))
  return { value: micros, odd: /[1-9]/.test(fraction.slice(6)) ? 'DatetimeTooFine' : undefined }
}

function slowCid(value: Decoded): Slow {
  if (value instanceof CID) return { value: hex(value.bytes) }
  if (value instanceof BadText) return { value: null, odd: 'CidMalformed' }
  if (typeof value !== 'string') return wrongType
  try {
    const cid = CID.parse(value)
    if (cid.version === 1 && value.startsWith('b') && value.length <= 161 && base32.encode(cid.bytes) === value)
      return { value: hex(cid.bytes) }
  } catch {}
  return { value: null, odd: 'CidMalformed' }
}

function slowJson(value: Decoded): Slow {
  let odd: string | undefined
  const note = (code: string) => {
    const order = ['TextNul', 'TextNotUtf8', 'NegativeZero']
    if (odd === undefined || order.indexOf(code) < order.indexOf(odd)) odd = code
  }
  const text = json(value, note)
  if (Buffer.byteLength(text) >= projectionLimits.maxJsonBytes) return { value: null, odd: 'JsonTooLong' }
  return { value: text, odd }
}

function json(value: Decoded, note: (code: string) => void): string {
  if (value === null || typeof value === 'boolean' || typeof value === 'bigint') return String(value)
  if (value instanceof Float) {
    if (Object.is(value.value, -0)) note('NegativeZero')
    return String(value.value)
  }
  if (typeof value === 'string' || value instanceof BadText) {
    const { text, odd } = repair(value)
    if (odd !== undefined) note(odd)
    if (value instanceof BadText) note('TextNotUtf8')
    return JSON.stringify(text)
  }
  if (value instanceof Uint8Array) return `{"$bytes":"${Buffer.from(value).toString('base64').replaceAll('=', '')}"}`
  if (value instanceof CID) return `{"$link":"${value}"}`
  if (Array.isArray(value)) return `[${value.map((one) => json(one, note)).join(',')}]`
  const members = [...value].map(([key, one]) => `${json(keyText(key), note)}:${json(one, note)}`)
  return `{${members.join(',')}}`
}

/** Keys are kept as latin1 text of their bytes. */
function keyText(latin1: string): string | BadText {
  const bytes = Buffer.from(latin1, 'latin1')
  const text = new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes)
  return Buffer.from(text).equals(bytes) ? text : new BadText(bytes)
}

function slowList(value: Decoded, type: ColumnType, maxBytes: number): Slow {
  if (!Array.isArray(value)) return wrongType
  if (value.length > projectionLimits.maxArrayLength) return { value: null, odd: 'ArrayTooLong' }
  const element = columnTypeOf(type.replace('[]', ''))
  const items = value.map((item): Slow => (item === null ? { value: null } : slowValue(item, element, maxBytes)))
  return { value: items.map((item) => item.value), odd: items.find((item) => item.odd !== undefined)?.odd }
}

function columnTypeOf(name: string): ColumnType {
  return name === 'int8' || name === 'bool' || name === 'timestamptz' || name === 'cid' || name === 'bytea'
    ? name
    : 'text'
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

/** The fields of a row in binary COPY format as plain values. */
export function readFields(table: Table, fields: Uint8Array): Plain[] {
  const bytes = Buffer.from(fields)
  let position = 0
  const values = table.columns.map((column) => {
    const length = bytes.readInt32BE(position)
    position += 4
    if (length < 0) return null
    position += length
    return readValue(column.type, bytes.subarray(position - length, position))
  })
  if (position !== bytes.length) throw new Error('bytes after the last field')
  return values
}

function readValue(type: ColumnType, bytes: Buffer): Plain {
  if (type === 'int8' || type === 'timestamptz') return bytes.readBigInt64BE()
  if (type === 'bool') return bytes[0] === 1
  if (type === 'cid') return wholeCid(bytes.toString('hex'))
  if (type === 'bytea') return bytes.toString('hex')
  if (!type.endsWith('[]'))
    return wholeText(type, new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes))
  const element = columnTypeOf(type.replace('[]', ''))
  const items: Plain[] = []
  const count = bytes.readInt32BE(0) === 0 ? 0 : bytes.readInt32BE(12)
  let position = 20
  for (let i = 0; i < count; i++) {
    const length = bytes.readInt32BE(position)
    position += 4
    items.push(length < 0 ? null : readValue(element, bytes.subarray(position, position + length)))
    position += Math.max(0, length)
  }
  if (items.includes(null) !== (bytes.readInt32BE(4) === 1)) throw new Error('the null flag is wrong')
  return items
}

/** Undoes the short forms of short-forms.ts. */
function wholeCid(hex: string): string {
  if (hex.length === 64) return `01711220${hex}`
  return hex.startsWith('00') ? hex.slice(2) : hex
}

const jsonWord = (code: number) => jsonWords.find((word) => word.code === code)?.stretch.text ?? '?'

function wholeText(type: ColumnType, stored: string): string {
  if (type === 'jsonb') return stored.replace(/[^ -\uffff]/g, (code) => jsonWord(code.charCodeAt(0)))
  if (type === 'text') return stored
  const [whole, prefix] = type === 'did' ? ['did:', 'did:plc:'] : ['at://', 'at://did:plc:']
  if (stored.startsWith('=')) return stored.slice(1)
  if (stored.startsWith(whole)) return stored
  const collections = ['/app.bsky.feed.post/', '/app.bsky.feed.repost/', '/app.bsky.graph.list/']
  return prefix + stored.replace(/[!"#]/g, (code) => collections['!"#'.indexOf(code)] ?? '?')
}
