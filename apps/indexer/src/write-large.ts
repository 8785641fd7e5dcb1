// One transaction for one large repo, fed by its walk: chunks of rows in, an outcome out.
// While Postgres takes one piece, the walk makes the next. Each piece is a savepoint, because the walk cannot give its rows a second
// time: a piece that holds a refused row is sifted.
import type { PoolClient } from 'pg'
import { copyIn } from './copy.ts'
import { CounterChanges } from './counters.ts'
import { databaseTrouble, sqlState } from './database-errors.ts'
import { connect, transact, translate } from './database-transact.ts'
import { IndexerError } from './errors.ts'
import type { ClaimedRepo } from './state.ts'
import { step } from './steps.ts'
import type { RepoTotals, RowChunk, TableChunk, TableRows, WriteOutcome } from './write.ts'
import { isOurs, isWritten, type LockedRepo, lock } from './write-fence.ts'
import { isComparable, LargeMerge } from './write-merge.ts'
import { gatherPieces } from './write-pieces.ts'
import { removeRefused, removeRows } from './write-refetch.ts'
import { copyOdditiesOf, copyRejectsOf } from './write-rejects.ts'
import { settle } from './write-settle.ts'
import { copySifting } from './write-sift.ts'
import { type RoleContext, tableOf } from './write-tables.ts'

export interface LargeRepo {
  claim: ClaimedRepo
  chunks: AsyncIterable<RowChunk>
  totals: () => RepoTotals
  pieceBytes: number
}

export async function writeLarge(repo: LargeRepo, context: RoleContext): Promise<WriteOutcome> {
  const client = await connect(context.database.pool)
  const write = new LargeWrite(client, repo, context)
  let broken = false
  try {
    await client.query('begin')
    const outcome = await write.run()
    await client.query(outcome === 'committed' ? 'commit' : 'rollback')
    step('after-commit')
    return outcome
  } catch (error) {
    const trouble = databaseTrouble(error)
    broken = trouble === 'unavailable'
    if (!broken) await client.query('rollback').catch(() => {})
    if (broken && write.totals !== undefined && (await hasCommitted(repo.claim, write.totals, context)))
      return 'committed'
    throw named(error, repo.claim)
  } finally {
    client.release(broken)
  }
}

/** What the walk threw, and what ends the run, stays as it is. */
function named(error: unknown, { did }: ClaimedRepo): unknown {
  const trouble = databaseTrouble(error)
  const options = { cause: error, details: { did, sqlState: sqlState(error) } }
  if (trouble === 'unavailable' || trouble === 'conflict') {
    return new IndexerError('WriteInterrupted', `the database went away while ${did} was written`, options)
  }
  if (trouble !== 'row') return translate(error)
  return new IndexerError('RepoRefused', `Postgres refuses what goes with the rows of ${did}`, options)
}

async function hasCommitted({ id }: ClaimedRepo, totals: RepoTotals, { database }: RoleContext): Promise<boolean> {
  const row = await transact(database.pool, async (client) => (await lock(client, [id])).get(id))
  return row !== undefined && isWritten(row, totals)
}

class LargeWrite {
  /** Known once the walk has ended. */
  totals: RepoTotals | undefined
  readonly #client: PoolClient
  readonly #repo: LargeRepo
  readonly #context: RoleContext
  readonly #changes = new CounterChanges()
  #merge: LargeMerge | undefined
  #rows = 0
  #rejected = 0

  constructor(client: PoolClient, repo: LargeRepo, context: RoleContext) {
    this.#client = client
    this.#repo = repo
    this.#context = context
  }

  async run(): Promise<WriteOutcome> {
    const { claim, totals } = this.#repo
    step('before-lock')
    const locked = (await lock(this.#client, [claim.id])).get(claim.id)
    if (locked === undefined || !isOurs(locked, claim)) return 'fenced'
    await this.#prepare(locked)
    step('before-copy')
    await this.#copyAll()
    await this.#merge?.finish(this.#context.tables.values())
    step('after-copy')
    this.totals = totals()
    step('before-rejects')
    await this.#copyRefused(this.totals)
    await this.#settle(this.totals, locked)
    return 'committed'
  }

  /** A repo that has rows is compared with them as the walk goes on, or loses them all first. */
  async #prepare(locked: LockedRepo): Promise<void> {
    if (locked.rev === null) return
    const [repo, changes] = [locked.id, this.#changes]
    if (!isComparable(locked, this.#context))
      return await removeRows(this.#client, { ids: [repo], changes }, this.#context)
    this.#merge = new LargeMerge(this.#client, { repo, changes })
    await removeRefused(this.#client, { ids: [repo], changes })
  }

  /** The COPY of one piece runs while the next is being gathered. */
  async #copyAll(): Promise<void> {
    const { chunks, pieceBytes } = this.#repo
    let copying: Promise<void> | undefined
    try {
      for await (const piece of gatherPieces(chunks, pieceBytes)) {
        await copying
        copying = 'table' in piece ? this.#copyRows(piece) : this.#copyRefused(piece)
        copying.catch(() => {}) // thrown where it is awaited
      }
    } finally {
      await copying // the connection is free again, whoever failed
    }
  }

  async #copyRows(piece: TableChunk): Promise<void> {
    const table = tableOf(this.#context, piece.table)
    const rows = this.#merge === undefined ? piece : await this.#compared(this.#merge, piece)
    this.#rows += piece.rows
    if (rows.rows === 0) return
    step('in-copy')
    await this.#client.query('savepoint piece')
    let copied = rows.rows
    try {
      await copyIn(this.#client, table.copy, rows.bytes)
      await this.#client.query('release savepoint piece')
    } catch (error) {
      if (databaseTrouble(error) !== 'row') throw error
      await this.#client.query('rollback to savepoint piece')
      const { rows: taken, refused } = await copySifting(this.#client, table, rows.bytes)
      copied = taken
      this.#rows -= refused.length
      await this.#copyRefused({ rejects: refused, oddities: [] })
    }
    this.#changes.add(`rows/${table.table.name}`, copied)
    for (const buffer of rows.bytes) this.#changes.add('bytes', buffer.length)
    piece.release?.()
  }

  async #compared(merge: LargeMerge, piece: TableChunk): Promise<TableRows> {
    const bytes = await merge.compare(tableOf(this.#context, piece.table), piece.bytes)
    return { rows: bytes.length, bytes }
  }

  async #copyRefused({ rejects, oddities }: Pick<RepoTotals, 'rejects' | 'oddities'>): Promise<void> {
    const { id } = this.#repo.claim
    const rejected = await copyRejectsOf(this.#client, [{ id, rejects }])
    this.#rejected += rejected
    this.#changes.add('rejected', rejected)
    this.#changes.add('oddities', await copyOdditiesOf(this.#client, [{ id, oddities }]))
  }

  async #settle(totals: RepoTotals, locked: LockedRepo): Promise<void> {
    const repos = [{ ...totals, locked, records: this.#rows, rejected: this.#rejected }]
    await settle(this.#client, { repos, changes: this.#changes }, this.#context)
  }
}
