import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, expect, test } from 'vitest'
import { type Config, fromLexicons, loadConfig } from './config.ts'
import { resolveConfig } from './config-resolve.ts'

const folder = mkdtempSync(join(tmpdir(), 'indexer-config-'))
afterAll(() => rmSync(folder, { recursive: true }))

function write(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

/** As the indexer does it: vitest would load the file in its own way. */
async function loadInNode(path: string): Promise<Config> {
  const script = `import { loadConfig } from '${import.meta.dirname}/config.ts'
    console.log(JSON.stringify(await loadConfig({ path: process.argv[1] })))`
  const args = ['--conditions=workspace-source', '--input-type=module', '-e', script, path]
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args)
  expect(stderr).toBe('')
  return JSON.parse(stdout)
}

function columnsOf(config: Config, table: string): string {
  const found = config.tables.find((one) => one.name === table)
  return (found?.columns ?? []).map((column) => `${column.name} ${column.type}`).join(', ')
}

test('the default config has a table for each collection that makes up the network, and travels to threads', async () => {
  const config = await loadConfig()
  expect(config.tables.map((table) => table.name)).toEqual(
    'post like repost follow block profile list listitem listblock generator threadgate postgate starterpack'.split(
      ' ',
    ),
  )
  expect(structuredClone(config)).toEqual(config)
  expect(config.tables.every((table, i) => table.index === i)).toBe(true)
})

test('a TypeScript config anywhere on the disk is loaded without a build step', async () => {
  const path = write(
    'indexer.config.ts',
    `import { defineConfig, fromLexicons } from 'indexer/config'
    type Unused = { a: string }
    const table: string = 'hearts'
    export default defineConfig({ collections: [fromLexicons(['app.bsky.graph.*']), { 'app.bsky.feed.like': { table, columns: { created_at: 'timestamptz' } } }] })`,
  )
  const config = await loadInNode(path)
  expect(columnsOf(config, 'hearts')).toBe('created_at timestamptz')
  expect(columnsOf(config, 'follow')).toContain('subject did')
})

test('a JSON config is loaded too', async () => {
  const path = write('config.json', JSON.stringify({ collections: { 'a.b.c': 'json' } }))
  expect((await loadConfig({ path })).tables).toMatchObject([
    { name: 'records', collections: ['a.b.c'], generic: true },
  ])
})

test('a config file that is missing, broken or empty is refused with its path', async () => {
  await expect(loadConfig({ path: join(folder, 'none.ts') })).rejects.toMatchObject({ code: 'BadConfig' })
  await expect(loadConfig({ path: write('broken.ts', 'export default {{') })).rejects.toMatchObject({
    code: 'BadConfig',
  })
  await expect(loadConfig({ path: write('empty.ts', 'export const a = 1') })).rejects.toThrow(/no default export/)
})

test('--collections sends more to the generic table, and leaves typed tables alone', async () => {
  const config = await loadConfig({ collections: ['com.example.*', 'app.bsky.feed.like', 'com.example.blog.entry'] })
  expect(config.tables.at(-1)).toMatchObject({ name: 'records', collections: ['com.example.*'] })
  expect((await loadConfig({ collections: ['*', 'com.example.*'] })).tables.at(-1)?.collections).toEqual(['*'])
})

const at = `collections['a.b.c']`

test.each([
  [{ colections: {} }, `config: there is no 'colections' here; did you mean 'collections'?`],
  [{}, 'collections: must be an object'],
  [{ collections: {} }, 'collections: names no collection'],
  [{ collections: { post: {} } }, `collections: 'post' is no collection: an NSID, 'app.example.*' or '*'`],
  [
    { collections: [{ 'a.b.c': { colums: {} } }] },
    `collections[0]['a.b.c']: there is no 'colums' here; did you mean 'columns'?`,
  ],
  [columns({ x: 'timestampz' }), `${at}.columns.x.type: there is no 'timestampz'; did you mean 'timestamptz'?`],
  [
    columns({ createdAt: 'text' }),
    `${at}.columns.createdAt: 'createdAt' must start with a letter and have at most 50 of a-z, 0-9 and _; 'created_at' would do`,
  ],
  [columns({ did: 'text' }), `${at}.columns.did: 'did' is taken; choose another name`],
  [columns({ a: { type: 'text', path: 'x', paths: ['y'] } }), `${at}.columns.a: has both 'path' and 'paths'`],
  [
    columns({ a: { type: 'text', path: 'x..y' } }),
    `${at}.columns.a.path: must be keys with dots between them, or a list of keys`,
  ],
  [
    columns({ a: 'blob', a_cid: 'cid' }),
    `${at}.columns.a_cid: two columns would be named 'a_cid' (a blob makes three)`,
  ],
  [
    { collections: { 'a.b.c': { columns: { subject: 'did' }, indexes: ['subjct'] } } },
    `${at}.indexes[0]: there is no 'subjct'; did you mean 'subject'?`,
  ],
  [
    { collections: { 'a.b.c': { columns: { langs: 'text[]', at: 'timestamptz' }, indexes: [['langs', 'at']] } } },
    `${at}.indexes[0]: langs: lists and jsonb take an index of their own`,
  ],
  [{ collections: { 'a.b.c': { table: 'repos' } } }, `${at}.table: 'repos' is taken; choose another name`],
  [
    { collections: { 'a.b.foo': {}, 'a.b.d': { table: 'foo_rows' } } },
    `collections['a.b.d'].table: 'foo_rows' is taken; choose another name`,
  ],
  [
    { collections: { 'a.b.c': { table: 'foo_rows' }, 'a.b.d': { table: 'foo' } } },
    `collections['a.b.d'].table: 'foo_rows', which it needs, is taken; choose another name`,
  ],
  [
    { collections: { 'a.b.c': { table: 'x' }, 'a.b.d': { table: 'x' } } },
    `collections['a.b.d'].table: 'x' is taken; choose another name`,
  ],
  [
    { collections: { 'a.b.*': { columns: {} } } },
    `collections['a.b.*']: a pattern can only be 'json': its records share no columns`,
  ],
  [
    { collections: fromLexicons(['app.bski.feed.post']) },
    `collections: no lexicon is named 'app.bski.feed.post'; did you mean 'app.bsky.feed.post'?`,
  ],
  [
    { collections: fromLexicons(['app.bksy.*']) },
    `collections: no lexicon is named 'app.bksy.*'; did you mean 'app.bsky.*'?`,
  ],
])('a mistake is refused with its path and what was meant: %j', async (input, message) => {
  await expect(resolveConfig(input)).rejects.toMatchObject({ code: 'BadConfig', message })
})

function columns(given: unknown): unknown {
  return { collections: { 'a.b.c': { columns: given } } }
}

test('tables whose collections end alike are named by more of the NSID', async () => {
  const config = await resolveConfig({ collections: { 'a.b.list': {}, 'a.c.list': {}, 'a.c.repos': {} } })
  expect(config.tables.map((table) => table.name)).toEqual(['b_list', 'c_list', 'c_repos'])
})

test('a collection whose last part is no name has more of the NSID', async () => {
  const { tables } = await resolveConfig({ collections: { 'com.example.123': {}, 'com.example.y': {} } })
  expect(tables.map(({ name }) => name)).toEqual(['example_123', 'y'])
})

test('a view is not named as the table of another', async () => {
  for (const collections of [
    { 'a.b.foo': {}, 'a.b.fooRows': {} },
    { 'a.b.fooRows': {}, 'a.b.foo': {} },
  ]) {
    const { tables } = await resolveConfig({ collections })
    expect(new Set(tables.flatMap(({ name, rowsName }) => [name, rowsName])).size).toBe(4)
  }
})

test('indexed text is limited to what an index entry holds', async () => {
  const config = await resolveConfig({
    collections: {
      'a.b.c': { columns: { a: 'text', b: 'did', c: 'int8', d: 'text' }, indexes: ['a', ['b', 'd', 'c']] },
    },
  })
  expect(config.tables[0]?.columns.map((column) => column.maxBytes)).toEqual([2600, 1300, 1_048_576, 1300])
})

test('a version changes with what is projected, and only then', async () => {
  const version = async (collection: unknown) => (await resolveConfig({ collections: { 'a.b.c': collection } })).version
  const plain = await version({ columns: { a: 'text' } })
  expect(await version({ columns: { a: { type: 'text', path: 'a' } } })).toBe(plain)
  expect(await version({ columns: { a: 'int8' } })).not.toBe(plain)
  expect(await version({ columns: { a: { type: 'text', path: 'b' } } })).not.toBe(plain)
})

test('every record type of app.bsky and chat.bsky has its derived table', async () => {
  const config = await resolveConfig({ collections: fromLexicons(['app.bsky.*', 'chat.bsky.*']) })
  expect(config.tables.length).toBeGreaterThanOrEqual(20)
  expect(columnsOf(config, 'like')).toBe(
    'subject_uri at-uri, subject_cid cid, created_at timestamptz, via_uri at-uri, via_cid cid',
  )
  expect(columnsOf(config, 'post')).toContain('langs text[]')
  expect(columnsOf(config, 'post')).toContain('embed jsonb')
  expect(columnsOf(config, 'generator')).toContain('record_did did, display_name text')
  expect(columnsOf(config, 'profile')).toContain('avatar_cid cid, avatar_mime text, avatar_size int8')
})

test("a user's own lexicon file makes a table with one line", async () => {
  const path = write(
    'walk.json',
    JSON.stringify({
      lexicon: 1,
      id: 'com.example.walk',
      defs: {
        main: {
          type: 'record',
          record: {
            type: 'object',
            properties: {
              startedAt: { type: 'string', format: 'datetime' },
              meters: { type: 'integer' },
              steps: { type: 'array', items: { type: 'integer' } },
              kind: { type: 'ref', ref: '#kind' },
              place: { type: 'ref', ref: '#place' },
              post: { type: 'ref', ref: 'com.atproto.repo.strongRef' },
              map: { type: 'cid-link' },
              friends: { type: 'array', items: { type: 'string', format: 'did' } },
              lost: { type: 'ref', ref: 'com.example.nowhere' },
            },
          },
        },
        kind: { type: 'string', knownValues: ['hike'] },
        place: { type: 'object', properties: {} },
      },
    }),
  )
  const config = await resolveConfig({ collections: fromLexicons([path]) })
  expect(columnsOf(config, 'walk')).toBe(
    'started_at timestamptz, meters int8, steps int8[], kind text, place jsonb, post_uri at-uri, post_cid cid, map cid, friends text[], lost jsonb',
  )
})

test('columns of a lexicon get names that are free, also those of a blob', async () => {
  const long = 'x'.repeat(60)
  const text = { type: 'string' }
  const properties = {
    avatarCid: text,
    avatar: { type: 'blob' },
    [`${long}1`]: text,
    [`${long}2`]: { type: 'blob' },
    did: text,
  }
  const record = { type: 'object', properties }
  const path = write(
    'walk.json',
    JSON.stringify({ lexicon: 1, id: 'com.example.walk', defs: { main: { type: 'record', record } } }),
  )
  const config = await resolveConfig({ collections: fromLexicons([path]) })
  const short = long.slice(0, 38)
  expect(config.tables[0]?.columns.map(({ name }) => name)).toEqual([
    'avatar_cid',
    ...['avatar_2_cid', 'avatar_2_mime', 'avatar_2_size'],
    short,
    ...[`${short}_2_cid`, `${short}_2_mime`, `${short}_2_size`],
    'record_did',
  ])
})

test('the config that the docs show is a good one', async () => {
  const docs = readFileSync(join(import.meta.dirname, '..', '..', '..', 'docs', 'configuration.md'), 'utf8')
  const example = /```ts\n([\s\S]*?)```/.exec(docs)?.[1] ?? ''
  const path = write('docs.config.ts', example.replace(", './lexicons'", ''))
  const config = await loadInNode(path)
  expect(config.tables.map((table) => table.name)).toEqual(
    expect.arrayContaining(['likes', 'review', 'post', 'records']),
  )
})

test('a file that does not parse is refused with the line of it, a lexicon with what is wrong in it', async () => {
  const cut = write('cut.config.ts', 'export default {\n  collections: [\n    {\n')
  await expect(loadInNode(cut)).rejects.toThrow(`${cut}:3 does not load: Unexpected token`)
  const throws = write('throws.config.ts', `const a = 1\nthrow new Error('boo')\n`)
  await expect(loadInNode(throws)).rejects.toThrow(`${throws}:2 does not load: boo`)
  const lexicon = write('cut.json', '{ "lexicon": 1,')
  const input = { collections: fromLexicons([lexicon]) }
  await expect(resolveConfig(input)).rejects.toThrow(/is not JSON: .*position 15/)
})
