// Fills a test database with repos, without hosts and fetches: records by account in, projected and copied rows out.
import { encodeRecord } from 'repo-stream/fixtures'
import type { Config } from './config.ts'
import { copyIn, RowBuffer } from './copy.ts'
import type { Database } from './database.ts'
import { createTestProjection } from './project/testing-settle.ts'
import { copyColumns, tableName } from './schema.ts'
import { appendTestRow } from './testing-append.ts'

export interface TestRepo {
  did: string
  handle: string
  records: Iterable<{ key: string; value: unknown }>
}

/** Each repo becomes a `done` row of `repos`, on one host. Every record has to be a row. */
export async function insertRepos(database: Database, config: Config, repos: Iterable<TestRepo>): Promise<void> {
  const projection = createTestProjection(config)
  const buffers = config.tables.map((table) => new RowBuffer(table))
  const client = await database.pool.connect()
  try {
    await client.query(`insert into hosts (origin) values ('https://pds.example.com') on conflict do nothing`)
    for (const repo of repos) {
      const inserted = await client.query<{ id: number }>(insertRepo, [repo.did, repo.handle])
      const id = inserted.rows[0]?.id ?? 0
      let records = 0
      for (const { key, value } of repo.records) {
        const [collection = '', rkey = ''] = key.split('/')
        const block = Uint8Array.from(encodeRecord(value))
        const { table, fields } = projection.settleAs(collection, block, rkey)
        if (table === undefined || fields === undefined) continue
        const digest = Buffer.from(await crypto.subtle.digest('SHA-256', block))
        const buffer = buffers[table.index]
        if (buffer !== undefined) appendTestRow(buffer, id, { collection, rkey, digest, fields })
        records++
      }
      await client.query('update repos set records = $2 where id = $1', [id, records])
    }
    for (const table of config.tables) {
      const rows = buffers[table.index]?.take() ?? []
      await copyIn(client, `copy ${tableName(table)} ${copyColumns(table)} from stdin (format binary)`, rows)
    }
    await client.query('analyze')
  } finally {
    client.release()
  }
}

const insertRepo = `
  insert into repos (did, handle, host_id, state, rev, indexed_at)
  values ($1, $2, (select min(id) from hosts), 'done', '3jzfcijpj2z2a', now())
  returning id`
