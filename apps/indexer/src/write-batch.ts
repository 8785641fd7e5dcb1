// One transaction for many small repos: finished repos in, an outcome for each out.
// Run again after a deadlock or a lost connection; a row that Postgres refuses splits the batch until its repo is alone, so that
// the others commit.
import type { PoolClient } from 'pg'
import { copyIn } from './copy.ts'
import { CounterChanges } from './counters.ts'
import { databaseTrouble, sqlState } from './database-errors.ts'
import { transact } from './database-transact.ts'
import { IndexerError } from './errors.ts'
import { step } from './steps.ts'
import type { FinishedRepo, TableRows, WriteOutcome } from './write.ts'
import { isOurs, isWritten, type LockedRepo, lock } from './write-fence.ts'
import { isComparableInMemory, mergeSmall } from './write-merge.ts'
import { removeRefused, removeRows } from './write-refetch.ts'
import { copyOdditiesOf, copyRejectsOf } from './write-rejects.ts'
import { settle } from './write-settle.ts'
import { copySifting } from './write-sift.ts'
import { type RoleContext, tableOf } from './write-tables.ts'

/** Outcomes in the order of `repos`; an error is of that repo alone. Throws what ends the run. */
export async function writeBatch(
  repos: readonly FinishedRepo[],
  context: RoleContext,
): Promise<(WriteOutcome | IndexerError)[]> {
  const { pool } = context.database
  const [only] = repos
  try {
    const outcomes = await transact(pool, (client) => writeAll(client, repos, context))
    step('after-commit')
    return outcomes
  } catch (error) {
    if (databaseTrouble(error) !== 'row' || only === undefined) throw error
    if (repos.length === 1) return [await writeAlone(only, context)]
    const half = repos.length >> 1
    return [...(await writeBatch(repos.slice(0, half), context)), ...(await writeBatch(repos.slice(half), context))]
  }
}

async function writeAlone(repo: FinishedRepo, context: RoleContext): Promise<WriteOutcome | IndexerError> {
  try {
    return await transact(context.database.pool, (client) => writeSifted(client, repo, context))
  } catch (error) {
    if (databaseTrouble(error) !== 'row') throw error
    const message = `Postgres refuses what goes with the rows of ${repo.claim.did} (${sqlState(error)})`
    return new IndexerError('RepoRefused', message, { cause: error, details: { did: repo.claim.did } })
  }
}

interface OursRepo {
  repo: FinishedRepo
  locked: LockedRepo
}

async function writeAll(
  client: PoolClient,
  repos: readonly FinishedRepo[],
  context: RoleContext,
): Promise<WriteOutcome[]> {
  const { ours, outcomes } = await fence(client, repos)
  if (ours.length === 0) return outcomes
  const changes = new CounterChanges()
  const left = await clear(client, { ours, changes }, context)
  step('before-copy')
  for (const [table, { rows, bytes }] of gather(left.values())) {
    const {
      copy,
      table: { name },
    } = tableOf(context, table)
    step('in-copy')
    await copyIn(client, copy, bytes)
    changes.add(`rows/${name}`, rows)
  }
  step('after-copy')
  await finish(client, { ours, changes, bytes: sum(ours, ({ repo }) => repo.bytes) }, context)
  return outcomes
}

/** One repo, row by row where it must be: what Postgres refuses becomes a reject with the row's bytes. */
async function writeSifted(client: PoolClient, given: FinishedRepo, context: RoleContext): Promise<WriteOutcome> {
  const { ours, outcomes } = await fence(client, [given])
  const [first] = ours
  if (first === undefined) return outcomes[0] ?? 'fenced'
  const changes = new CounterChanges()
  const left = await clear(client, { ours, changes }, context)
  const rejects = [...given.rejects]
  let rows = given.rows
  for (const [index, { bytes }] of left.get(first.locked.id) ?? []) {
    const table = tableOf(context, index)
    const sifted = await copySifting(client, table, bytes)
    changes.add(`rows/${table.table.name}`, sifted.rows)
    rows -= sifted.refused.length
    rejects.push(...sifted.refused)
  }
  const repo = { ...given, rejects, rows }
  await finish(client, { ours: [{ ...first, repo }], changes, bytes: given.bytes }, context)
  return 'committed'
}

async function fence(
  client: PoolClient,
  repos: readonly FinishedRepo[],
): Promise<{ ours: OursRepo[]; outcomes: WriteOutcome[] }> {
  step('before-lock')
  const lockedRepos = await lock(
    client,
    repos.map(({ claim }) => claim.id),
  )
  const ours: OursRepo[] = []
  const outcomes = repos.map((repo): WriteOutcome => {
    const locked = lockedRepos.get(repo.claim.id)
    if (locked === undefined) return 'fenced'
    if (isOurs(locked, repo.claim)) ours.push({ repo, locked })
    else if (!isWritten(locked, repo)) return 'fenced'
    return 'committed'
  })
  return { ours, outcomes }
}

interface Writing {
  ours: readonly OursRepo[]
  changes: CounterChanges
}

/**
 * Only a repo that was fetched before has rows: the first load deletes nothing. What is stored and stays is taken out of `ours`,
 * whose repos then have only the rows to be copied; their totals are those of all.
 */
async function clear(
  client: PoolClient,
  { ours, changes }: Writing,
  context: RoleContext,
): Promise<Map<number, ReadonlyMap<number, TableRows>>> {
  const left = new Map(ours.map(({ repo, locked }) => [locked.id, repo.tables]))
  const refetched = ours.filter(({ locked }) => locked.rev !== null)
  if (refetched.length === 0) return left
  const idsOf = (some: readonly OursRepo[]) => some.map(({ locked }) => locked.id)
  const merged = refetched.filter(({ locked }) => isComparableInMemory(locked, context))
  const replaced = refetched.filter((one) => !merged.includes(one))
  if (replaced.length > 0) await removeRows(client, { ids: idsOf(replaced), changes }, context)
  if (merged.length === 0) return left
  await removeRefused(client, { ids: idsOf(merged), changes })
  const repos = merged.map(({ repo, locked }) => ({ id: locked.id, tables: repo.tables }))
  for (const [id, tables] of await mergeSmall(client, { repos, changes }, context)) left.set(id, tables)
  return left
}

async function finish(
  client: PoolClient,
  { ours, changes, bytes }: Writing & { bytes: number },
  context: RoleContext,
): Promise<void> {
  step('before-rejects')
  changes.add(
    'rejected',
    await copyRejectsOf(
      client,
      ours.map(({ repo, locked }) => ({ id: locked.id, rejects: repo.rejects })),
    ),
  )
  changes.add(
    'oddities',
    await copyOdditiesOf(
      client,
      ours.map(({ repo, locked }) => ({ id: locked.id, oddities: repo.oddities })),
    ),
  )
  changes.add('bytes', bytes)
  const repos = ours.map(({ repo, locked }) => ({
    locked,
    rev: repo.rev,
    head: repo.head,
    skipped: repo.skipped,
    records: repo.rows,
    rejected: repo.rejects.length,
  }))
  await settle(client, { repos, changes }, context)
}

/** Rows of all repos by table, in one order for all batches. */
function gather(repos: Iterable<ReadonlyMap<number, TableRows>>): [number, TableRows][] {
  const tables = new Map<number, TableRows>()
  for (const repo of repos) {
    for (const [index, { rows, bytes }] of repo) {
      if (rows === 0) continue
      const table = tables.get(index) ?? { rows: 0, bytes: [] }
      tables.set(index, table)
      table.rows += rows
      for (const buffer of bytes) table.bytes.push(buffer)
    }
  }
  return [...tables].sort(([a], [b]) => a - b)
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0)
}
