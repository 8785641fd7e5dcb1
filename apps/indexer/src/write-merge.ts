// A repo that is fetched again: its new rows and those that are stored in, only the differences out.
// A row is the same if its cid is, provided that the same version of the projection made it; else everything is written anew.
// Small repos are compared in memory, many at once; a large one piece by piece, by ranges of its keys, as its walk goes on.
import type { PoolClient } from 'pg'
import type { CounterChanges } from './counters.ts'
import { type RowKey, readRows } from './row-buffer.ts'
import type { TableRows } from './write.ts'
import type { LockedRepo } from './write-fence.ts'
import type { WriteContext, WriteTable } from './write-tables.ts'

/** Stored rows of a repo that are compared in memory; above it, a small repo's rows are all written anew. */
const maxComparedRows = 20_000
/** Stored keys that one query of a large merge reads. */
const pageRows = 10_000

/** Whether the stored rows can be told from the new ones by their cid alone. */
export function isComparable(locked: LockedRepo, { config }: WriteContext): boolean {
  return locked.rev !== null && locked.projectionVersion === config.version
}

export function isComparableInMemory(locked: LockedRepo, context: WriteContext): boolean {
  return isComparable(locked, context) && locked.records <= maxComparedRows
}

export interface StoredRepo {
  id: number
  tables: ReadonlyMap<number, TableRows>
}

/** Deletes what is gone or changed; gives what is left to copy, by repo, in place of `tables`. */
export async function mergeSmall(
  client: PoolClient,
  { repos, changes }: { repos: readonly StoredRepo[]; changes: CounterChanges },
  { tables }: WriteContext,
): Promise<Map<number, Map<number, TableRows>>> {
  const left = new Map(repos.map(({ id }) => [id, new Map<number, TableRows>()]))
  const ids = repos.map(({ id }) => id)
  for (const [index, table] of tables) {
    const stored = await readStored(client, table, ids)
    for (const { id, tables } of repos) {
      const rows = tables.get(index)
      if (rows === undefined) continue
      const { generic } = table.table
      const fresh = [...readRows(rows.bytes, generic)].filter((row) => !stored.takeIfSame(id, row))
      left.get(id)?.set(index, { rows: fresh.length, bytes: fresh.map(({ bytes }) => bytes) })
    }
    changes.add(`rows/${table.table.name}`, -(await stored.deleteRest(client)))
  }
  return left
}

interface StoredKey {
  repo: number
  collection?: string
  rkey: string
  cid: Buffer
}

async function readStored(client: PoolClient, table: WriteTable, ids: readonly number[]): Promise<StoredRows> {
  const columns = table.table.generic ? 'repo, collection, rkey, cid' : 'repo, rkey, cid'
  const { rows } = await client.query<StoredKey>(`select ${columns} from ${table.name} where repo = any($1)`, [ids])
  return new StoredRows(table, rows)
}

class StoredRows {
  readonly #table: WriteTable
  readonly #rows: Map<string, StoredKey>

  constructor(table: WriteTable, rows: readonly StoredKey[]) {
    this.#table = table
    this.#rows = new Map(rows.map((row) => [`${row.repo}/${row.collection ?? ''}/${row.rkey}`, row]))
  }

  /** A row that is the same stays; what is not taken at the end is deleted. */
  takeIfSame(repo: number, { collection, rkey, cid }: RowKey): boolean {
    const key = `${repo}/${collection ?? ''}/${rkey}`
    return this.#rows.get(key)?.cid.equals(cid) === true && this.#rows.delete(key)
  }

  async deleteRest(client: PoolClient): Promise<number> {
    const rows = [...this.#rows.values()]
    if (rows.length === 0) return 0
    const { name, table } = this.#table
    const same = table.generic
      ? 't.repo = v.repo and t.collection = v.collection and t.rkey = v.rkey'
      : 't.repo = v.repo and t.rkey = v.rkey'
    const text = `delete from ${name} t using unnest($1::bigint[], $2::text[], $3::text[]) as v (repo, collection, rkey) where ${same}`
    const values = [
      rows.map(({ repo }) => repo),
      rows.map(({ collection }) => collection ?? ''),
      rows.map(({ rkey }) => rkey),
    ]
    return (await client.query(text, values)).rowCount ?? 0
  }
}

/** Follows the walk of one large repo, whose rows come in the order of their keys within each collection. */
export class LargeMerge {
  readonly #client: PoolClient
  readonly #repo: number
  readonly #changes: CounterChanges
  /** The last key that was compared, by table and collection. */
  readonly #reached = new Map<WriteTable, Map<string, string>>()

  constructor(client: PoolClient, { repo, changes }: { repo: number; changes: CounterChanges }) {
    this.#client = client
    this.#repo = repo
    this.#changes = changes
  }

  /** Deletes stored rows up to the piece's last key that are gone or changed; gives the rows that are to be copied. */
  async compare(table: WriteTable, buffers: readonly Buffer[]): Promise<Buffer[]> {
    const left: Buffer[] = []
    let run: RowKey[] = []
    for (const row of readRows(buffers, table.table.generic)) {
      if (run.length > 0 && run[0]?.collection !== row.collection) {
        left.push(...(await this.#compareRun(table, run)))
        run = []
      }
      run.push(row)
    }
    left.push(...(await this.#compareRun(table, run)))
    return left
  }

  /** Deletes what lies behind the last keys, and collections that the walk did not meet. */
  async finish(tables: Iterable<WriteTable>): Promise<void> {
    for (const table of tables) {
      const reached = this.#reached.get(table) ?? new Map<string, string>()
      if (table.table.generic) {
        await this.#delete(table, 'not (collection = any($2))', [[...reached.keys()]])
        for (const [collection, rkey] of reached)
          await this.#delete(table, 'collection = $2 and rkey > $3', [collection, rkey])
      } else {
        await this.#delete(table, 'rkey > $2', [reached.get('') ?? ''])
      }
    }
  }

  /** Rows of one collection. Both sides are in the order of keys, which is that of bytes. */
  async #compareRun(table: WriteTable, run: readonly RowKey[]): Promise<Buffer[]> {
    const last = run.at(-1)
    if (last === undefined) return []
    const collection = last.collection ?? ''
    const fresh = new Map(run.map((row) => [row.rkey, row]))
    const gone: string[] = []
    for (let from = this.#reach(table, collection, last.rkey); ; ) {
      const stored = await this.#readPage(table, { collection, from, to: last.rkey })
      for (const { rkey, cid } of stored) {
        if (fresh.get(rkey)?.cid.equals(cid) === true) fresh.delete(rkey)
        else gone.push(rkey)
      }
      const end = stored.at(-1)
      if (end === undefined || stored.length < pageRows) break
      from = end.rkey
      await this.#deleteKeys(table, collection, gone.splice(0))
    }
    await this.#deleteKeys(table, collection, gone)
    return [...fresh.values()].map(({ bytes }) => bytes)
  }

  /** Remembers how far the walk has come; gives how far it had come before. */
  #reach(table: WriteTable, collection: string, rkey: string): string {
    const reached = this.#reached.get(table) ?? new Map<string, string>()
    this.#reached.set(table, reached)
    const before = reached.get(collection) ?? ''
    reached.set(collection, rkey)
    return before
  }

  /** Leans on the primary key. */
  async #readPage(table: WriteTable, { collection, from, to }: { collection: string; from: string; to: string }) {
    const which = table.table.generic ? 'and collection = $5' : 'and $5::text is not null'
    const text = `select rkey, cid from ${table.name} where repo = $1 and rkey > $2 and rkey <= $3 ${which} order by rkey limit $4`
    const { rows } = await this.#client.query<StoredKey>(text, [this.#repo, from, to, pageRows, collection])
    return rows
  }

  async #deleteKeys(table: WriteTable, collection: string, rkeys: readonly string[]): Promise<void> {
    if (rkeys.length === 0) return
    const which = table.table.generic ? 'collection = $3' : '$3::text is not null'
    await this.#delete(table, `rkey = any($2) and ${which}`, [rkeys, collection])
  }

  async #delete(table: WriteTable, where: string, values: unknown[]): Promise<void> {
    const { rowCount } = await this.#client.query(`delete from ${table.name} where repo = $1 and ${where}`, [
      this.#repo,
      ...values,
    ])
    this.#changes.add(`rows/${table.table.name}`, -(rowCount ?? 0))
  }
}
