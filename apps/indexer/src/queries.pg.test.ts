import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { generateRecords, makeDid } from 'repo-stream/fixtures'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { loadConfig } from './config.ts'
import { finish } from './finish.ts'
import { applySchema } from './schema.ts'
import { openTestDatabase, type TestDatabase } from './testing-database.ts'
import { insertRepos, type TestRepo } from './testing-rows.ts'

const root = join(import.meta.dirname, '..', '..', '..')
const asked = queriesOf('docs/queries.md')
let database: TestDatabase

beforeAll(async () => {
  database = await openTestDatabase()
  const config = await loadConfig()
  await applySchema(database, { config })
  await insertRepos(database, config, [...makeFriends(), ...makeCrowd()])
  await finish(database, { config })
  await database.pool.query(
    `insert into reject_rows (repo, collection, rkey, cid, code, message, bytes)
    select id, 'app.bsky.feed.post', 'a', sha256('a'), 'RecordMalformed', 'the block ends inside a value at byte 7', 'a' from repos limit 3`,
  )
})
afterAll(() => database.close())

test('there are ten queries in the docs', () => {
  expect(asked.length).toBeGreaterThanOrEqual(10)
})

test.each(asked)('the docs answer: $title', async ({ sql }) => {
  const { rows } = await database.pool.query(sql)
  expect(rows.length).toBeGreaterThan(0)
})

test.each([...queriesOf('README.md'), ...queriesOf('OPERATIONS.md')])(
  'queries of the README and of OPERATIONS run: $title',
  async ({ sql }) => {
    for (const statement of sql.split(';')) await database.pool.query(statement)
  },
)

function queriesOf(file: string): { title: string; sql: string }[] {
  const text = readFileSync(join(root, file), 'utf8')
  return [...text.matchAll(/## ([^\n]+)\n(?:(?!\n## )[\s\S])*?```sql\n([\s\S]*?)```/g)].map((match) => ({
    title: match[1] ?? '',
    sql: match[2] ?? '',
  }))
}

/** Two accounts that follow each other, reply to each other and like it; the first writes most of all. */
function makeFriends(): TestRepo[] {
  const createdAt = '2024-02-03T04:05:06.789Z'
  const dids = [makeDid('friend 0'), makeDid('friend 1')]
  return dids.map((did, me) => {
    const other = dids[1 - me]
    const root = {
      uri: `at://${dids[0]}/app.bsky.feed.post/3jzfcijpj2z2a`,
      cid: 'bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq',
    }
    const post = { $type: 'app.bsky.feed.post', text: 'hello', createdAt, langs: ['en'] }
    const embed = {
      $type: 'app.bsky.embed.external',
      external: { uri: 'https://example.com/a', title: '', description: '' },
    }
    return {
      did,
      handle: `friend${me}.example.com`,
      records: [
        {
          key: 'app.bsky.graph.follow/3jzfcijpj2z2a',
          value: { $type: 'app.bsky.graph.follow', subject: other, createdAt },
        },
        { key: 'app.bsky.feed.like/3jzfcijpj2z2a', value: { $type: 'app.bsky.feed.like', subject: root, createdAt } },
        {
          key: 'app.bsky.feed.post/3jzfcijpj2z2a',
          value: me === 0 ? post : { ...post, embed, reply: { root, parent: root } },
        },
        ...(me === 0 ? generateRecords({ seed: 'busy', count: 800, did, mix: { post: 1, like: 1 } }) : []),
      ],
    }
  })
}

function makeCrowd(): TestRepo[] {
  return Array.from({ length: 20 }, (_, i) => {
    const did = makeDid(`crowd ${i}`)
    return { did, handle: `crowd${i}.example.com`, records: generateRecords({ seed: i, count: 100, did }) }
  })
}
