// A decoded record as JSON text, in the form of the atproto data model: links as {"$link"}, bytes as {"$bytes"} in base64
// without padding. Integers of 64 bits are written digit by digit, which JSON allows and JSON.stringify does not.
import { Buffer } from 'node:buffer'
import { CID } from 'multiformats/cid'
import type { RecordValue } from './decode-record.ts'

/** Indented by two spaces; keys in the order of the record. */
export function recordJson(value: RecordValue, indent = ''): string {
  const inner = `${indent}  `
  if (typeof value === 'bigint') return String(value)
  if (value instanceof Uint8Array) return `{ "$bytes": "${Buffer.from(value).toString('base64').replace(/=+$/, '')}" }`
  if (value instanceof CID) return `{ "$link": "${value}" }`
  if (Array.isArray(value))
    return wrap(
      '[',
      value.map((item) => recordJson(item, inner)),
      ']',
      indent,
    )
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const fields = Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${recordJson(item, inner)}`)
  return wrap('{', fields, '}', indent)
}

function wrap(open: string, items: readonly string[], close: string, indent: string): string {
  if (items.length === 0) return open + close
  return `${open}\n${items.map((item) => `${indent}  ${item}`).join(',\n')}\n${indent}${close}`
}
