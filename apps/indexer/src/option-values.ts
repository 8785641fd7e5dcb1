// What the options accept: text of a flag or a variable in, its value out. Throws what commander shows beside the flag.
import { InvalidArgumentError } from 'commander'

export const MiB = 1024 * 1024

/** Of a server. */
export function parseUrl(text: string): string {
  const url = URL.parse(text)
  if (!url || (url.protocol !== 'https:' && url.protocol !== 'http:')) {
    throw new InvalidArgumentError(`"${text}" is not an http(s) URL, such as https://relay1.us-east.bsky.network`)
  }
  if (url.href !== `${url.origin}/`) throw new InvalidArgumentError(`"${text}" has more than a server: ${url.origin}`)
  return url.origin
}

export function parsePath(text: string): string {
  if (text === '') throw new InvalidArgumentError('the path is empty')
  return text
}

export function parseList(text: string): string[] {
  return text.split(',').flatMap((item) => item.trim() || [])
}

/** At least one. */
export function parseSome(text: string): string[] {
  const list = parseList(text)
  if (list.length === 0) throw new InvalidArgumentError('the list is empty')
  return list
}

/** 63 is Postgres' limit, and `reproject` appends ten characters. What begins with pg_ is the server's. */
export function parseSchema(text: string): string {
  if (/^(?!pg_|information_schema$)[a-z_][a-z0-9_]{0,52}$/.test(text)) return text
  throw new InvalidArgumentError(
    "a schema name is lower-case letters, digits and _, at most 53, and none of Postgres' own",
  )
}

export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(k|m|g)?(?:i?b)?$/i.exec(text.trim())
  const unit = { k: 1024, m: MiB, g: 1024 * MiB }[(match?.[2] ?? '').toLowerCase()] ?? 1
  const bytes = Math.floor(Number(match?.[1]) * unit)
  if (match && bytes >= 64 * 1024 && Number.isSafeInteger(bytes)) return bytes
  throw new InvalidArgumentError(`"${text}" is not a size of at least 64KiB, such as 512MiB`)
}

export function parseCount(text: string): number {
  const count = Number(text)
  if (Number.isSafeInteger(count) && count >= 1 && count <= 100_000) return count
  throw new InvalidArgumentError(`"${text}" is not a whole number from 1 to 100000`)
}

export function parseCountOrZero(text: string): number {
  return text === '0' ? 0 : parseCount(text)
}

/** Of the demo network. */
export function parseAccounts(text: string): number {
  const accounts = Number(text)
  if (Number.isSafeInteger(accounts) && accounts >= 10 && accounts <= 1_000_000) return accounts
  throw new InvalidArgumentError(`"${text}" is not a whole number from 10 to 1000000`)
}

/** A thread takes 7 MB before its first repo, a thousand of them minutes to start; more than there are processors gain nothing. */
export function parseThreads(text: string): number {
  const threads = Number(text)
  if (Number.isSafeInteger(threads) && threads >= 1 && threads <= 64) return threads
  throw new InvalidArgumentError(`"${text}" is not a whole number from 1 to 64`)
}

/** It goes into a header of HTTP. */
export function parseContact(text: string): string {
  if (/^[\x20-\x7e]{0,200}$/.test(text)) return text
  throw new InvalidArgumentError('a contact is an address of at most 200 ASCII characters, without line ends')
}

export function parseSeconds(text: string): number {
  const seconds = Number(text)
  if (seconds >= 0.001 && seconds <= 86_400) return seconds
  throw new InvalidArgumentError(`"${text}" is not a number of seconds from 0.001 to 86400`)
}

/** 0: without end. */
export function parseTimeout(text: string): number {
  return text === '0' ? 0 : parseSeconds(text)
}

export function parseEgress(text: string): string {
  if (/^[\w.:-]{0,64}$/.test(text)) return text
  throw new InvalidArgumentError('an egress name is letters, digits, and _ . : -, at most 64')
}

/** A third of a second between beats at least: below it, a busy process would be taken for a dead one. */
export function parseDeadAfter(text: string): number {
  const seconds = parseSeconds(text)
  if (seconds >= 2) return seconds
  throw new InvalidArgumentError('at least 2 seconds')
}

export function parseVerify(text: string): 'full' | 'structure' {
  if (text === 'full' || text === 'structure') return text
  throw new InvalidArgumentError('full or structure')
}

export function parseInactive(text: string): 'hide' | 'keep' | 'delete' {
  if (text === 'hide' || text === 'keep' || text === 'delete') return text
  throw new InvalidArgumentError('hide, keep or delete')
}

export function parseLogLevel(text: string): string {
  if (['trace', 'debug', 'info', 'warn', 'error'].includes(text)) return text
  throw new InvalidArgumentError('trace, debug, info, warn or error')
}
