// Rejected records and odd values: objects in, COPY rows of `reject_rows` and `oddity_rows` out.
// A rejected record's collection and rkey are what a stranger wrote: here they become text that Postgres takes and that stays distinct.
import { createHash } from 'node:crypto'
import type { ClientBase } from 'pg'
import { copyIn } from './copy.ts'
import { projectionLimits } from './project/limits.ts'
import { encodeRow } from './row-buffer.ts'
import { clip } from './state-outcomes.ts'
import type { Oddity, Reject } from './write.ts'

const copyRejects = `copy reject_rows (repo, collection, rkey, cid, code, message, bytes) from stdin (format binary)`
const copyOddities = `copy oddity_rows (repo, collection, rkey, field, code, original) from stdin (format binary)`

/**
 * Characters that are left of a collection or an rkey that Postgres cannot take as it is. The walk bounds both together to 1,024 bytes,
 * each of them a character: 2,048 bytes in UTF-8, and U+FFFD has 3. An index entry ends at 2,704.
 */
const maxAlteredCharacters = 300

export async function copyRejectsOf(
  client: ClientBase,
  repos: Iterable<{ id: number; rejects: readonly Reject[] }>,
): Promise<number> {
  const rows: Buffer[] = []
  for (const { id, rejects } of repos) {
    for (const { collection, rkey, cid, code, message, bytes } of rejects) {
      rows.push(encodeRow([BigInt(id), keyText(collection), keyText(rkey), cid, code, clip(message), bytes]))
    }
  }
  if (rows.length > 0) await copyIn(client, copyRejects, rows)
  return rows.length
}

/** What one repo may put into `oddity_rows`: a broken client repeats one mistake for ever. Counts what it does not allow. */
export class OddityAllowance {
  #values: number = projectionLimits.maxOdditiesPerRepo
  #bytes: number = projectionLimits.maxOddityBytesPerRepo
  #unkept = 0

  allows({ length }: Uint8Array): boolean {
    if (this.#values === 0 || length > this.#bytes) {
      this.#unkept++
      return false
    }
    this.#values -= 1
    this.#bytes -= length
    return true
  }

  /** What stands for the values that were not kept, if there are any. To be asked for at the end, once. */
  notKept(): Oddity[] {
    if (this.#unkept === 0) return []
    return [{ collection: '', rkey: '', column: '', code: 'NotKept', original: Buffer.from(String(this.#unkept)) }]
  }
}

// There may be one already, of the crawl that made the rejects which are replayed.
const addNotKept = `
  insert into oddity_rows as o (repo, collection, rkey, field, code, original) values ($1, '', '', '', 'NotKept', $2)
  on conflict (repo, collection, rkey, field) do update set
    original = convert_to((convert_from(o.original, 'UTF8')::int8 + convert_from(excluded.original, 'UTF8')::int8)::text, 'UTF8')
  returning (xmax = 0)::int as added`

/** Adds to what is stored for the repo. Gives how many rows of `oddity_rows` are new. */
export async function addNotKeptOf(client: ClientBase, id: number, allowance: OddityAllowance): Promise<number> {
  let added = 0
  for (const { original } of allowance.notKept()) {
    const { rows } = await client.query<{ added: number }>(addNotKept, [id, original])
    added += rows[0]?.added ?? 0
  }
  return added
}

export async function copyOdditiesOf(
  client: ClientBase,
  repos: Iterable<{ id: number; oddities: readonly Oddity[] }>,
): Promise<number> {
  const rows: Buffer[] = []
  for (const { id, oddities } of repos) {
    for (const { collection, rkey, column, code, original } of oddities) {
      rows.push(encodeRow([BigInt(id), keyText(collection), keyText(rkey), column, code, original]))
    }
  }
  if (rows.length > 0) await copyIn(client, copyOddities, rows)
  return rows.length
}

/**
 * Whole whenever that is possible, for a replay makes a row under it. What had to change gets a hash of what it was, so that two
 * keys never become one, behind a character that no record key has, so that it never becomes a row's.
 */
function keyText(text: string): string {
  const storable = text.replaceAll('\0', '\ufffd').toWellFormed()
  if (storable === text && text.length <= projectionLimits.maxKeyBytes) return text
  const start = storable.slice(0, maxAlteredCharacters).toWellFormed()
  return `${start}\u2026${createHash('sha256').update(text, 'utf16le').digest('hex').slice(0, 16)}`
}
