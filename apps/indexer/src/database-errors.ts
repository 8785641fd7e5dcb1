// Says what a failure of the database means, by SQLSTATE or socket error, never by text.
import { DatabaseError } from 'pg'

/**
 * - `unavailable`: no connection, or it broke; the database may come back.
 * - `conflict`: deadlock or serialisation; the same transaction may succeed now.
 * - `duplicate`: a key is there already, which the fence excludes: a bug.
 * - `refused`: a right is missing, or the server is a standby; no such user, password or database.
 * - `full`: no space on the database's disk, or no memory.
 * - `row`: a value is refused; the rest of the batch may be fine.
 */
export type DatabaseTrouble = 'unavailable' | 'conflict' | 'duplicate' | 'refused' | 'full' | 'row'

const socketErrors = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOENT',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
])
const refusedValues = new Set(['23502', '23514'])

export function databaseTrouble(error: unknown): DatabaseTrouble | undefined {
  const code = sqlState(error)
  if (code === undefined) return isBroken(error) ? 'unavailable' : undefined
  if (socketErrors.has(code)) return 'unavailable'
  if (code === '40001' || code === '40P01') return 'conflict'
  if (code === '23505') return 'duplicate'
  const group = code.slice(0, 2)
  if (code === '42501' || code === '25006' || code === '3D000' || group === '28') return 'refused'
  if (code === '53300' || group === '08' || group === '57') return code === '57014' ? undefined : 'unavailable'
  if (group === '53' || code === '58030') return 'full'
  if (group === '22' || group === '54' || refusedValues.has(code)) return 'row'
  return undefined
}

/** SQLSTATE, or the socket's error code. */
export function sqlState(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** pg reports a connection that ended in mid-query by an Error without a code. */
function isBroken(error: unknown): boolean {
  return (
    error instanceof Error &&
    !(error instanceof DatabaseError) &&
    /^Connection terminated|^timeout exceeded when trying|^Client (was closed|has encountered)/.test(error.message)
  )
}
