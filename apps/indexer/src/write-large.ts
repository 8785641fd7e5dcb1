// One transaction for one large repo, fed by its walk: chunks of rows in, an outcome out.
// The chunks are gathered into pieces; while Postgres takes one, the walk makes the next. Each piece is a savepoint, because the walk
// cannot give its rows a second time: a piece that holds a refused row is sifted.
import type { PoolClient } from 'pg'
import { copyIn } from './copy.ts'
import { CounterChanges } from './counters.ts'
import { databaseTrouble, sqlState } from './database-errors.ts'
import { connect, transact } from './database-transact.ts'
import { IndexerError } from './errors.ts'
import type { ClaimedRepo } from './state.ts'
import { step } from './steps.ts'
import type { Reject, RepoTotals, RowChunk, WriteOutcome } from './write.ts'
import { isOurs, isWritten, lock } from './write-fence.ts'
import { removeRows } from './write-refetch.ts'
import { copyOdditiesOf, copyRejectsOf } from './write-rejects.ts'
import { settle } from './write-settle.ts'
import { copySifting, type Sifted } from './write-sift.ts'
import { type RoleContext, tableOf } from './write-tables.ts'

export interface LargeRepo {
  claim: ClaimedRepo
  chunks: AsyncIterable<RowChunk>
  totals: () => RepoTotals
  pieceBytes: number
}

export async function writeLarge(repo: LargeRepo, context: RoleContext): Promise<WriteOutcome> {
  const { pool } = context.database
  const client = await connect(pool)
  let broken = false
  let walked: RepoTotals | undefined
  try {
    await client.query('begin')
    const outcome = await writeInto(client, repo, context, (totals) => {
      walked = totals
    })
    await client.query(outcome === 'committed' ? 'commit' : 'rollback')
    step('after-commit')
    return outcome
  } catch (error) {
    const trouble = databaseTrouble(error)
    broken = trouble === 'unavailable'
    if (!broken) await client.query('rollback').catch(() => {})
    if (trouble !== 'unavailable' && trouble !== 'conflict') throw error
    if (broken && walked !== undefined && (await hasCommitted(repo.claim, walked, context))) return 'committed'
    const details = { did: repo.claim.did, sqlState: sqlState(error) }
    throw new IndexerError('WriteInterrupted', `the database went away while ${repo.claim.did} was written`, {
      cause: error,
      details,
    })
  } finally {
    client.release(broken)
  }
}

async function hasCommitted({ id }: ClaimedRepo, totals: RepoTotals, { database }: RoleContext): Promise<boolean> {
  const locked = await transact(database.pool, (client) => lock(client, [id]))
  const row = locked.get(id)
  return row !== undefined && isWritten(row, totals)
}

async function writeInto(
  client: PoolClient,
  { claim, chunks, totals: askTotals, pieceBytes }: LargeRepo,
  context: RoleContext,
  onWalked: (totals: RepoTotals) => void,
): Promise<WriteOutcome> {
  step('before-lock')
  const locked = (await lock(client, [claim.id])).get(claim.id)
  if (locked === undefined || !isOurs(locked, claim)) return 'fenced'
  const changes = new CounterChanges()
  if (locked.rev !== null) await removeRows(client, { ids: [claim.id], changes }, context)
  step('before-copy')
  const written = await copyPieces(client, { pieces: gatherPieces(chunks, pieceBytes), changes }, context)
  step('after-copy')
  const totals = askTotals()
  onWalked(totals)
  const rejects = [...totals.rejects, ...written.refused]
  step('before-rejects')
  changes.add('rejected', await copyRejectsOf(client, [{ id: claim.id, rejects }]))
  changes.add('oddities', await copyOdditiesOf(client, [{ id: claim.id, oddities: totals.oddities }]))
  changes.add('bytes', written.bytes)
  const repos = [{ ...totals, locked, records: written.rows, rejected: rejects.length }]
  await settle(client, { repos, changes }, context)
  return 'committed'
}

interface Pieces {
  pieces: AsyncIterable<RowChunk>
  changes: CounterChanges
}

/** The COPY of one piece runs while the next is being gathered. */
async function copyPieces(client: PoolClient, { pieces, changes }: Pieces, context: RoleContext) {
  const total = { rows: 0, bytes: 0, refused: [] as Reject[] }
  let copying: Promise<void> | undefined
  try {
    for await (const piece of pieces) {
      await copying
      copying = copyPiece(client, piece, context).then(({ rows, refused }) => {
        total.rows += rows
        total.refused.push(...refused)
        changes.add(`rows/${tableOf(context, piece.table).table.name}`, rows)
      })
      copying.catch(() => {}) // thrown where it is awaited
      for (const buffer of piece.bytes) total.bytes += buffer.length
    }
  } finally {
    await copying // the connection is free again, whoever failed
  }
  return total
}

async function copyPiece(client: PoolClient, piece: RowChunk, context: RoleContext): Promise<Sifted> {
  const table = tableOf(context, piece.table)
  step('in-copy')
  await client.query('savepoint piece')
  try {
    await copyIn(client, table.copy, piece.bytes)
    await client.query('release savepoint piece')
    return { rows: piece.rows, refused: [] }
  } catch (error) {
    if (databaseTrouble(error) !== 'row') throw error
    await client.query('rollback to savepoint piece')
    return await copySifting(client, table, piece.bytes)
  }
}

async function* gatherPieces(chunks: AsyncIterable<RowChunk>, pieceBytes: number): AsyncGenerator<RowChunk> {
  let piece: RowChunk | undefined
  let bytes = 0
  for await (const chunk of chunks) {
    if (piece !== undefined && piece.table !== chunk.table) {
      yield piece
      piece = undefined
    }
    if (piece === undefined) {
      piece = { table: chunk.table, rows: 0, bytes: [] }
      bytes = 0
    }
    piece.rows += chunk.rows
    for (const buffer of chunk.bytes) {
      piece.bytes.push(buffer)
      bytes += buffer.length
    }
    if (bytes < pieceBytes) continue
    yield piece
    piece = undefined
  }
  if (piece !== undefined) yield piece
}
