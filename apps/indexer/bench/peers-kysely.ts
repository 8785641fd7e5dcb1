// The peers' way into Postgres in `bench:peers`: decoded records in, kysely inserts of 2,000 rows out, 200 repos a transaction,
// into the very tables that ours fills, so that both sides end with the same rows. No counts and no state of repos are kept.
// Each insert is awaited, as one would write it; ours goes on encoding while Postgres works, on two connections.
import { Kysely, PostgresDialect } from 'kysely'
import { Pool } from 'pg'
import { type Row, rowOf, tables } from './peers-rows.ts'
import type { OpenSide, SideContext, SideRepo } from './peers-side.ts'
import type { PeerWalk } from './peers-walk.ts'

const rowsPerInsert = 2_000
const reposPerTransaction = 200

type Tables = Record<string, Row>

export function openKysely({ url }: SideContext, walk: PeerWalk): OpenSide {
  const pool = new Pool({ connectionString: url, max: 1 })
  const database = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) })
  return {
    async index(repos) {
      for (let start = 0; start < repos.length; start += reposPerTransaction) {
        const share = repos.slice(start, start + reposPerTransaction)
        await database.transaction().execute((inside) => insertRepos(inside.withSchema('atproto'), share, walk))
      }
    },
    close: () => database.destroy(),
  }
}

async function insertRepos(transaction: Kysely<Tables>, repos: readonly SideRepo[], walk: PeerWalk): Promise<void> {
  const waiting = new Map<string, Row[]>()
  const insert = (table: string, rows: readonly Row[]) => transaction.insertInto(table).values(rows).execute()
  for (const { claim, car } of repos) {
    for await (const { collection, rkey, digest, record } of walk.records(car)) {
      const table = tables[collection]
      if (table === undefined) throw new Error(`the bench's repos have no ${collection}`)
      const rows = waiting.get(table) ?? []
      waiting.set(table, rows)
      rows.push({ repo: claim.id, rkey, cid: digest, ...rowOf(collection, record, walk.stringify) })
      if (rows.length < rowsPerInsert) continue
      waiting.delete(table)
      await insert(table, rows)
    }
  }
  for (const [table, rows] of waiting) await insert(table, rows)
}
