// The local copy of the PLC directory, table `identities`: pages of operations in, identities out. A page and the cursor
// behind it commit together. Look-ups that come at the same time share a statement, so a resolver may ask for one at a time.
import type { PoolClient } from 'pg'
import type { Database } from './database.ts'
import { ask, transact } from './database-transact.ts'
import type { Identity } from './did-document.ts'
import type { PlcOperation } from './plc-operation.ts'
import { ensureHosts } from './state-hosts.ts'

export interface Identities {
  /** Where the export is to be read on; undefined at the beginning. */
  cursor(source: string): Promise<string | undefined>
  /** `finished`: the directory had no more for now. */
  savePage(
    operations: readonly PlcOperation[],
    page: { source: string; cursor: string; finished: boolean },
  ): Promise<void>
  /** Undefined: not known here, tombstoned, or without a usable host or key; the directory will say. */
  lookUp(did: string): Promise<Identity | undefined>
}

export function openIdentities({ pool }: Database): Identities {
  const lookUp = batched(async (dids) => {
    const { rows } = await ask<IdentityRow>(pool, { name: 'identities', text: selectIdentities, values: [dids] })
    return new Map(rows.map((row) => [row.did, { ...row, handle: row.handle ?? undefined }]))
  })
  return {
    lookUp,
    async cursor(source) {
      const { rows } = await ask<{ cursor: string | null }>(pool, { text: selectCursor, values: [source] })
      return rows[0]?.cursor ?? undefined
    },
    async savePage(operations, { source, cursor, finished }) {
      await transact(pool, async (client) => {
        await saveNewest(client, operations)
        await client.query({ text: upsertCursor, values: [source, cursor, operations.length, finished] })
      })
    },
  }
}

/** The last operation of each DID in the page, by DID, so that two writers cannot deadlock. */
async function saveNewest(client: PoolClient, operations: readonly PlcOperation[]): Promise<void> {
  const newest = [...new Map(operations.map((operation) => [operation.did, operation])).values()]
  if (newest.length === 0) return
  newest.sort((a, b) => (a.did < b.did ? -1 : 1))
  const origins = [...new Set(newest.map(({ host }) => host).filter((host) => host !== undefined))]
  const ids = await ensureHosts(client, origins)
  const idOf = new Map(origins.map((origin, index) => [origin, ids[index]]))
  await client.query({
    name: 'identities-upsert',
    text: upsertIdentities,
    values: [
      newest.map(({ did }) => did),
      newest.map(({ createdAt }) => createdAt.toISOString()),
      newest.map(({ host }) => (host === undefined ? null : idOf.get(host))),
      newest.map(({ handle }) => handle ?? null),
      newest.map(({ signingKey }) => signingKey ?? null),
    ],
  })
}

interface IdentityRow {
  did: string
  host: string
  signingKey: string
  handle: string | null
}

/** By primary keys. */
const selectIdentities = `
  select i.did, h.origin as host, i.signing_key as "signingKey", i.handle
  from identities i
  join hosts h on h.id = i.host_id
  where i.did = any($1) and i.signing_key is not null`

const upsertIdentities = `
  insert into identities as i (did, operated_at, host_id, handle, signing_key)
  select * from unnest($1::text[], $2::timestamptz[], $3::int[], $4::text[], $5::text[])
  on conflict (did) do update
  set operated_at = excluded.operated_at, host_id = excluded.host_id, handle = excluded.handle,
    signing_key = excluded.signing_key
  where i.operated_at <= excluded.operated_at`

const selectCursor = `select cursor from sources where name = $1`

const upsertCursor = `
  insert into sources as s (name, cursor, pages, listed, passes, finished_at)
  values ($1, $2, 1, $3, $4::boolean::int, case when $4 then now() end)
  on conflict (name) do update
  set cursor = excluded.cursor, pages = s.pages + 1, listed = s.listed + excluded.listed,
    passes = s.passes + excluded.passes, updated_at = now(), finished_at = coalesce(excluded.finished_at, s.finished_at)`

/** Keys of one look-up; more wait for the next. */
const maxBatch = 500

/** Calls of the same turn of the event loop become one call of `read`. */
function batched<Value>(
  read: (keys: string[]) => Promise<Map<string, Value>>,
): (key: string) => Promise<Value | undefined> {
  let next: { keys: Set<string>; found: Promise<Map<string, Value>> } | undefined
  return async (key) => {
    if (!next || next.keys.size >= maxBatch) {
      const keys = new Set<string>()
      const found = new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
        if (next?.keys === keys) next = undefined
        return read([...keys])
      })
      next = { keys, found }
    }
    next.keys.add(key)
    return (await next.found).get(key)
  }
}
