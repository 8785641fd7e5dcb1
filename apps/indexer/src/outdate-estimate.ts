// What a changed config costs without an archive: how many repos would be fetched again, how many records they have, and how long
// that takes at the rate that their hosts allow. Reads only; looks at every repo, so it takes as long as marking them does.
import type { Config } from './config.ts'
import type { Database } from './database.ts'
import { ask } from './database-transact.ts'
import { defaultHostLimits } from './hosts-limits.ts'
import { concernedWhere } from './outdate.ts'
import { readApplied } from './schema.ts'
import { readWork, refuseReusedNames, type SchemaWork, workFor } from './schema-changes.ts'

export interface RefetchCost {
  repos: number
  /** That are stored of them now. */
  records: number
  /** Of the host that takes longest; all are asked at once. */
  ms: number
}

export interface ChangeEstimate {
  changes: { table: string; reason: string; repos: number }[]
  /** A repo that several changes concern counts once. */
  total: RefetchCost
}

/** Of a config that the database has not seen yet, with what is left to do of earlier changes. */
export async function estimateChanges(database: Database, config: Config): Promise<ChangeEstimate> {
  const nothing = { changes: [], total: { repos: 0, records: 0, ms: 0 } }
  const { pool, schema } = database
  const { rows: there } = await ask<{ is: boolean }>(pool, {
    text: 'select to_regclass($1) is not null as is',
    values: [`${schema}.schema_changes`],
  })
  if (there[0]?.is !== true) return nothing
  const applied = await readApplied(pool, schema)
  refuseReusedNames(config, applied)
  const work = [...(await readWork(pool, schema)), ...config.tables.flatMap((table) => workFor(table, config, applied))]
  const exists = (name: string) => applied.values().some(({ rowsName }) => rowsName === name)
  const concerned = work.flatMap((change) => {
    const where = concernedWhere(change, { config, exists })
    return where === undefined ? [] : [{ change, where }]
  })
  if (concerned.length === 0) return nothing
  const { rows } = await ask<HostCount>(pool, countConcerned(concerned.map(({ where }) => where)))
  const changes = concerned.map(({ change: { table, reason } }, index) => {
    return { table, reason, repos: sum(rows, ({ byChange }) => byChange[index] ?? 0) }
  })
  return { changes, total: costOf(rows) }
}

/** Of repos that are marked already. */
export async function refetchCost({ pool }: Database): Promise<RefetchCost> {
  const { rows } = await ask<HostCount>(pool, countStale)
  return costOf(rows)
}

interface HostCount {
  repos: number
  records: number
  byChange: number[]
  limits: { limit?: number; windowMs?: number } | null
}

const reasons = ['missing-collection', 'missing-column'] satisfies SchemaWork['reason'][]

function countConcerned(conditions: readonly string[]): string {
  return countByHost({
    where: `state = 'done' and (${conditions.map((_, index) => `c${index}`).join(' or ')})`,
    from: `(select r.*, ${conditions.map((where, index) => `(${where}) as c${index}`).join(', ')} from repos r) r`,
    byChange: `array[${conditions.map((_, index) => `count(*) filter (where c${index})`).join(', ')}]::int8[]::text[]::float8[]`,
  })
}

// Leans on repos_due.
const countStale = countByHost({
  where: `state = 'stale' and stale_reason in (${reasons.map((reason) => `'${reason}'`).join(', ')})`,
  from: 'repos r',
  byChange: 'array[]::float8[]',
})

function countByHost({ where, from, byChange }: { where: string; from: string; byChange: string }): string {
  return `
  select c.repos, c.records, c.by_change as "byChange", h.limits
  from (
    select host_id, count(*)::int8 as repos, sum(records)::int8 as records, ${byChange} as by_change
    from ${from} where ${where} group by host_id
  ) c left join hosts h on h.id = c.host_id`
}

function costOf(hosts: readonly HostCount[]): RefetchCost {
  return {
    repos: sum(hosts, ({ repos }) => repos),
    records: sum(hosts, ({ records }) => records),
    ms: hosts.reduce((longest, host) => Math.max(longest, hostMs(host)), 0),
  }
}

function hostMs({ repos, limits }: HostCount): number {
  const { limit = defaultHostLimits.defaultRequests, windowMs = defaultHostLimits.defaultWindowMs } = limits ?? {}
  return (repos / Math.max(1, limit)) * windowMs
}

function sum<T>(items: readonly T[], value: (item: T) => number): number {
  return items.reduce((total, item) => total + value(item), 0)
}
