// How much longer does a count(*) take of a view than of the table below it? A filled table in, the best times of both out, with
// none, few and many hidden accounts, by one process and by three. Sides take turns, so that other work disturbs both.
import type { PoolClient } from 'pg'
import type { Table } from '../src/config.ts'
import { tableName } from '../src/schema.ts'

export interface CountResult {
  hidden: number
  /** Beside the process that asks. */
  workers: number
  tableMs: number
  viewMs: number
}

const reps = 7

export async function timeCounts(client: PoolClient, table: Table): Promise<CountResult[]> {
  await client.query(`vacuum analyze ${tableName(table)}`)
  const results: CountResult[] = []
  for (const hidden of [0, 100, 100_000]) {
    await client.query('delete from hidden_repos where repo > 0')
    await client.query(`insert into hidden_repos select n * 3 from generate_series(1, ${hidden}) n`)
    await client.query('vacuum analyze hidden_repos')
    for (const workers of [0, 2]) {
      await client.query(`set max_parallel_workers_per_gather = ${workers}`)
      const times = { tableMs: Number.POSITIVE_INFINITY, viewMs: Number.POSITIVE_INFINITY }
      for (let rep = 0; rep < reps; rep++) {
        times.tableMs = Math.min(times.tableMs, await timeOf(client, tableName(table)))
        times.viewMs = Math.min(times.viewMs, await timeOf(client, `"${table.name}"`))
      }
      results.push({ hidden, workers, ...times })
    }
  }
  await client.query('delete from hidden_repos where repo > 0; reset max_parallel_workers_per_gather')
  return results
}

async function timeOf(client: PoolClient, name: string): Promise<number> {
  const { rows } = await client.query<{ 'QUERY PLAN': { 'Execution Time': number }[] }>(
    `explain (analyze, timing off, format json) select count(*) from ${name}`,
  )
  return rows[0]?.['QUERY PLAN'][0]?.['Execution Time'] ?? Number.NaN
}
