// Hosts by origin: origins in, ids out, made where they are new. Sorted, so that two writers cannot deadlock.
import type { ClientBase } from 'pg'

/** Ids in the order of `origins`. */
export async function ensureHosts(client: ClientBase, origins: readonly string[]): Promise<number[]> {
  const distinct = [...new Set(origins)].sort()
  const ids = new Map<string, number>()
  const read = async () => {
    const missing = distinct.filter((origin) => !ids.has(origin))
    const { rows } = await client.query<{ id: number; origin: string }>({
      name: 'hosts-by-origin',
      text: selectHosts,
      values: [missing],
    })
    for (const { id, origin } of rows) ids.set(origin, id)
  }
  await read()
  if (ids.size < distinct.length) {
    const missing = distinct.filter((origin) => !ids.has(origin))
    await client.query({ name: 'hosts-insert', text: insertHosts, values: [missing] })
    await read()
  }
  return origins.map((origin) => {
    const id = ids.get(origin)
    if (id === undefined) throw new Error(`host ${origin} was just inserted`)
    return id
  })
}

const selectHosts = `select id, origin from hosts where origin = any($1)`
const insertHosts = `insert into hosts (origin) select unnest($1::text[]) on conflict (origin) do nothing`
