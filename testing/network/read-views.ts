// What readers see of a crawled database, as lines, and how two such pictures differ.
import { createHash } from 'node:crypto'
import type { ClientBase, Pool } from 'pg'

export const timesOfIndexing = ['indexed_at', 'rejected_at']

/** Every line that a reader of the views can see, without the times of indexing, and the sums of counters; with how often it is there. */
export async function readViews(
  client: Pick<ClientBase, 'query'> | Pool,
  schema: string,
  without = timesOfIndexing,
): Promise<Map<string, number>> {
  const views = await client.query<{ viewname: string }>('select viewname from pg_views where schemaname = $1', [
    schema,
  ])
  const lines = new Map<string, number>()
  for (const { viewname } of views.rows) {
    const text = `select (to_jsonb(t) - $1::text[])::text as line from ${schema}."${viewname}" t`
    const { rows } = await client.query<{ line: string }>(text, [without])
    for (const { line } of rows) {
      const short =
        line.length < 300 ? line : `${line.slice(0, 200)} ${createHash('sha256').update(line).digest('hex')}`
      lines.set(`${viewname} ${short}`, (lines.get(`${viewname} ${short}`) ?? 0) + 1)
    }
  }
  const counters = await client.query<{ line: string }>(
    `select name || ' ' || sum(value) as line from ${schema}.counters group by name having sum(value) <> 0`,
  )
  for (const { line } of counters.rows) lines.set(`counter ${line}`, 1)
  return lines
}

/** At most 20 differences, as lines. */
export function compareLines(expected: Map<string, number>, found: Map<string, number>): string[] {
  const lines: string[] = []
  for (const [line, times] of expected) if (found.get(line) !== times) lines.push(`missing: ${line}`)
  for (const [line, times] of found) if (expected.get(line) !== times) lines.push(`too much: ${line}`)
  return lines.length > 20 ? [...lines.slice(0, 20), `and ${lines.length - 20} more`] : lines
}
