// Crawls of a fake network with an archive, and what readers see of them: a network in, lines to compare out. A change of the config
// that needs everything: more columns, another collection, all others into one table; one that changes a type alone; and one that is refused.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { readArchivedHead } from 'indexer/src/archive-read.ts'
import { openLog } from 'indexer/src/log.ts'
import { reprojectVerb } from 'indexer/src/reproject-verb.ts'
import { openTestDatabase, type TestDatabase } from 'indexer/src/testing-database.ts'
import { type CrawlFakeOptions, crawlFake, optionsOf } from './crawl-fake.ts'
import type { FakeNetwork } from './fakes.ts'
import { readViews, timesOfIndexing } from './read-views.ts'

const like = (columns: string, indexes: string) =>
  `'app.bsky.feed.like': { columns: { created_at: 'timestamptz'${columns} }, indexes: ['created_at'${indexes}] }`
const configs = {
  before: `${like('', '')}, 'app.bsky.feed.post': { columns: { text: 'text', reply: 'jsonb' } }`,
  after: `${like(`, subject_uri: { type: 'at-uri', path: 'subject.uri' }`, `, 'subject_uri'`)},
    'app.bsky.feed.post': { columns: { text: 'text', created_at: 'timestamptz' }, json: true, indexes: ['created_at'] },
    'app.bsky.graph.follow': { columns: { subject: 'did' }, indexes: ['subject'] }, '*': 'json'`,
  retyped: `${like('', '')}, 'app.bsky.feed.post': { columns: { text: 'text', reply: 'text' } }`,
  renamed: `'app.bsky.graph.follow': { table: 'post', columns: { subject: 'did' } }`,
}
export type ConfigName = keyof typeof configs

/** A database, an archive and config files, gone at the end. */
export async function openPlace() {
  const dir = await mkdtemp(join(tmpdir(), 'reproject-'))
  const config = (name: ConfigName) => join(dir, `${name}.ts`)
  for (const [name, text] of Object.entries(configs))
    await writeFile(join(dir, `${name}.ts`), `export default { collections: { ${text} } }`)
  const database = await openTestDatabase({ migrated: false })
  return {
    dir,
    archive: join(dir, 'archive'),
    config,
    database,
    async [Symbol.asyncDispose]() {
      await database.close()
      await rm(dir, { recursive: true, force: true })
    },
  }
}
export type Place = Awaited<ReturnType<typeof openPlace>>

/** Small limits, so that one repo spills and has a transaction of its own. */
const small = { collections: [], repoMemory: 512 * 1024, memory: 8 * 1024 * 1024, threads: 2 }

export async function crawl(
  network: FakeNetwork,
  place: Place,
  { config, archive = true, ...more }: CrawlFakeOptions & { config: ConfigName; archive?: boolean },
) {
  const options = {
    ...small,
    config: place.config(config),
    ...(archive ? { archive: place.archive } : {}),
    ...more.options,
  }
  return await crawlFake(network, place.database, { ...more, options })
}

export interface Reprojection {
  reprojected: number
  carried: Record<string, number>
  stale: number
}

export async function reproject(
  place: Place,
  config: ConfigName,
  signal = new AbortController().signal,
): Promise<Reprojection> {
  const options = optionsOf({ ...small, config: place.config(config), archive: place.archive, dataDir: place.dir })
  const log = openLog({ json: true, level: options.logLevel })
  const io = { log, line: undefined, signal }
  const { output } = await reprojectVerb({ ...options, database: place.database.url }, io)
  return JSON.parse(output)
}

/** What a first crawl with this config makes. */
export async function freshCrawl(network: FakeNetwork, config: ConfigName): Promise<Map<string, number>> {
  await using place = await openPlace()
  await crawl(network, place, { config, archive: false })
  return await readAll(place.database)
}

/** What readers see, and which indexes there are. The counter `bytes` counts everything that was ever written. */
export async function readAll({ pool, schema }: TestDatabase): Promise<Map<string, number>> {
  // `sort_at` of a record without a time of its own is that of indexing.
  const lines = await readViews(pool, schema, [...timesOfIndexing, 'sort_at'])
  const indexes = await pool.query<{ line: string }>(
    `select 'index ' || indexdef as line from pg_indexes where schemaname = $1 and tablename like '%_rows'`,
    [schema],
  )
  for (const { line } of indexes.rows) lines.set(line, 1)
  return new Map(lines.entries().filter(([line]) => !line.startsWith('counter bytes ')))
}

/** Done repos whose archived CAR is not of the commit that is stored. */
export async function unarchived({ database, archive }: Place): Promise<string[]> {
  const { rows } = await database.pool.query<{ did: string; head: Buffer }>(
    `select did, head from repos where rev is not null and state = 'done'`,
  )
  const wrong: string[] = []
  for (const { did, head } of rows) {
    const found = await readArchivedHead({ dir: archive, did }).catch((error: { code: string }) => error)
    if (!('head' in found) || found.head !== head.toString('hex')) wrong.push(`${did}: ${JSON.stringify(found)}`)
  }
  return wrong
}
