// Copies rows of which Postgres may refuse some: buffers in, what was stored and what was refused out.
// Each try is a savepoint; a try that fails is halved until the row is alone. The projection should leave nothing to refuse, so this
// is slow on purpose: it is never taken otherwise.
import { randomUUID } from 'node:crypto'
import type { PoolClient } from 'pg'
import { copyIn } from './copy.ts'
import { databaseTrouble, sqlState } from './database-errors.ts'
import { type RowKey, readRows } from './row-buffer.ts'
import type { Reject } from './write.ts'
import type { WriteTable } from './write-tables.ts'

export interface Sifted {
  rows: number
  refused: Reject[]
}

export async function copySifting(client: PoolClient, table: WriteTable, buffers: readonly Buffer[]): Promise<Sifted> {
  const rows = [...readRows(buffers, table.table.generic)]
  return await sift(client, table, rows)
}

async function sift(client: PoolClient, table: WriteTable, rows: readonly RowKey[]): Promise<Sifted> {
  if (rows.length === 0) return { rows: 0, refused: [] }
  const savepoint = `sift_${randomUUID().replaceAll('-', '')}`
  await client.query(`savepoint ${savepoint}`)
  try {
    await copyIn(
      client,
      table.copy,
      rows.map(({ bytes }) => bytes),
    )
    await client.query(`release savepoint ${savepoint}`)
    return { rows: rows.length, refused: [] }
  } catch (error) {
    if (databaseTrouble(error) !== 'row') throw error
    await client.query(`rollback to savepoint ${savepoint}`)
    const [row] = rows
    if (row !== undefined && rows.length === 1) return { rows: 0, refused: [rejectOf(row, table, error)] }
    const half = rows.length >> 1
    const left = await sift(client, table, rows.slice(0, half))
    const right = await sift(client, table, rows.slice(half))
    return { rows: left.rows + right.rows, refused: [...left.refused, ...right.refused] }
  }
}

function rejectOf({ collection, rkey, cid, bytes }: RowKey, { table }: WriteTable, error: unknown): Reject {
  const reason = error instanceof Error ? error.message : String(error)
  return {
    collection: collection ?? table.collections[0] ?? table.name,
    rkey,
    cid,
    code: 'RowRefused',
    message: `${sqlState(error)}: ${reason}`,
    bytes,
  }
}
