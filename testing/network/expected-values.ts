// What a column must hold for a record, worked out from the JSON that its PDS shows: the slow and plain way, to check the
// indexer's rows by. Shares no code with the projection. Values are in the form that `selectColumn` makes of a row's.
import type { Column, Table } from 'indexer/src/config.ts'

/** SQL that shows a column of a view in a form without loss: microseconds for times, everything else as it is. */
export function selectColumn({ name, type }: Column): string {
  if (type === 'timestamptz') return `(extract(epoch from "${name}") * 1000000)::int8::text as "${name}"`
  if (type === 'int8') return `"${name}"::text as "${name}"`
  return `"${name}"`
}

export function expectedRow(table: Table, record: unknown): Record<string, unknown> {
  return Object.fromEntries(table.columns.map((column) => [column.name, expectedValue(column, record)]))
}

function expectedValue(column: Column, record: unknown): unknown {
  const found = column.paths.map((path) => valueAt(record, path)).find((value) => value !== undefined && value !== null)
  const value = column.part === undefined ? found : blobPart(found, column.part)
  return value === undefined || value === null ? null : convert(value, column)
}

function convert(value: unknown, column: Column): unknown {
  switch (column.type) {
    case 'text':
    case 'did':
    case 'at-uri':
      return toText(value, column.maxBytes)
    case 'timestamptz':
      return typeof value === 'string' ? toMicros(value) : null
    case 'int8':
      return typeof value === 'number' ? String(value) : null
    case 'bool':
      return typeof value === 'boolean' ? value : null
    case 'cid':
      return toCid(value)
    case 'jsonb':
      return withoutNul(value)
    case 'text[]':
      return Array.isArray(value) ? value.map((item) => toText(item, column.maxBytes)) : null
    default:
      throw new Error(`no expectation for a column of type ${column.type}`)
  }
}

function valueAt(record: unknown, path: readonly string[]): unknown {
  let value: unknown = record
  for (const key of path) value = isObject(value) ? value[key] : undefined
  return value
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function blobPart(blob: unknown, part: NonNullable<Column['part']>): unknown {
  if (!isObject(blob)) return undefined
  return { cid: blob.ref, mime: blob.mimeType, size: blob.size }[part]
}

function toText(value: unknown, maxBytes: number): string | null {
  if (typeof value !== 'string') return null
  const text = value.replaceAll('\u0000', '\ufffd')
  return Buffer.byteLength(text) > maxBytes ? null : text
}

function toCid(value: unknown): string | null {
  const text = isObject(value) ? value.$link : value
  return typeof text === 'string' && /^baf[a-z2-7]{56}$/.test(text) ? text : null
}

/** NUL stands for what Postgres cannot hold, in keys too. */
function withoutNul(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value).replaceAll('\\u0000', '\ufffd'))
}

const datetime = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,20}))?(?:Z|([+-])(\d\d):(\d\d))$/

/** Microseconds since 1970, cut, of an atproto datetime from the year 1 to 9999; null for anything else. */
function toMicros(text: string): string | null {
  const parts = datetime.exec(text)
  if (parts === null || text.endsWith('-00:00')) return null
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts.slice(1, 7).map(Number)
  const [fraction = '', sign, zoneHours = '0', zoneMinutes = '0'] = parts.slice(7)
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  if (date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return null
  if (hour > 23 || minute > 59 || second > 59 || Number(zoneHours) > 23 || Number(zoneMinutes) > 59) return null
  const zoneSeconds = (Number(zoneHours) * 60 + Number(zoneMinutes)) * (sign === '-' ? -60 : 60)
  const seconds = date.getTime() / 1000 + hour * 3600 + minute * 60 + second - zoneSeconds
  if (seconds < -62_135_596_800 || seconds > 253_402_300_799) return null // 0001-01-01 to 9999-12-31
  return String(BigInt(seconds) * 1_000_000n + BigInt(fraction.slice(0, 6).padEnd(6, '0')))
}
