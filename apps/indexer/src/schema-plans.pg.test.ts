// What the views promise about speed, as plans: which index answers which question, and what a count costs.
import { afterAll, beforeAll, expect, test } from 'vitest'
import { resolveConfig } from './config-resolve.ts'
import { finish } from './finish.ts'
import { applySchema } from './schema.ts'
import { openTestDatabase, type TestDatabase } from './testing-database.ts'

const config = await resolveConfig({
  collections: {
    'app.bsky.feed.like': {
      columns: {
        created_at: 'timestamptz',
        subject_uri: { type: 'at-uri', path: 'subject.uri' },
        subject_cid: { type: 'cid', path: 'subject.cid' },
      },
      indexes: ['subject_uri', 'subject_cid', 'cid'],
    },
  },
})
const cid = 'bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq'
const uri = 'at://did:plc:account77/app.bsky.feed.like/000000000077a'
let database: TestDatabase

/** 200,000 likes of 1,000 accounts. */
beforeAll(async () => {
  database = await openTestDatabase()
  await applySchema(database, { config })
  await database.pool.query(`
    insert into repos (did, state, rev, indexed_at) select 'did:plc:account' || i, 'done', 'a', now() from generate_series(1, 1000) i;
    insert into hidden_repos select id from repos where id % 50 = 0;
    insert into like_rows (repo, created_at, rkey, cid, subject_uri, subject_cid)
    select r.id, timestamptz '2024-01-01Z' + i * interval '1 minute', lpad(i::text, 12, '0') || 'a', sha256((r.id * 1000 + i)::text::bytea),
      'bv6ggog3tya2z3vxsub7hnal!' || i, sha256(i::text::bytea)
    from repos r, generate_series(1, 200) i`)
  await finish(database, { config })
  await database.pool.query('vacuum analyze')
})
afterAll(() => database.close())

interface Node {
  'Node Type': string
  'Total Cost': number
  'Index Name'?: string
  'Relation Name'?: string
  Plans?: Node[]
}

async function planOf(sql: string): Promise<{ nodes: Node[]; indexes: string[]; cost: number; ms: number }> {
  const { rows } = await database.pool.query<{ 'QUERY PLAN': { Plan: Node; 'Execution Time': number }[] }>(
    `explain (analyze, timing off, format json) ${sql}`,
  )
  const top = rows[0]?.['QUERY PLAN'][0]
  if (top === undefined) throw new Error('explain gives a plan')
  const nodes: Node[] = []
  const visit = (node: Node): void => {
    nodes.push(node)
    for (const inner of node.Plans ?? []) visit(inner)
  }
  visit(top.Plan)
  const indexes = nodes.flatMap((node) => node['Index Name'] ?? [])
  return { nodes, indexes, cost: top.Plan['Total Cost'], ms: top['Execution Time'] }
}

test.each([
  [`select * from "like" where did = 'did:plc:account77'`, ['repos_did_key', 'like_rows_pkey']],
  [
    `select * from "like" where did = 'did:plc:account77' and rkey = '000000000077a'`,
    ['repos_did_key', 'like_rows_pkey'],
  ],
  [`select * from like_by_uri('${uri}')`, ['repos_did_key', 'like_rows_pkey']],
  [
    `select * from "like" where subject_uri = 'at://did:plc:bv6ggog3tya2z3vxsub7hnal/app.bsky.feed.post/77' limit 5`,
    ['like_rows_subject_uri_idx'],
  ],
  [`select * from like_by_subject_cid('${cid}')`, ['like_rows_subject_cid_idx']],
  [`select * from like_by_cid('${cid}')`, ['like_rows_cid_idx']],
  [`select * from like_rows where subject_cid = cid_bytes('${cid}')`, ['like_rows_subject_cid_idx']],
])('%s looks at no row too many', async (sql, indexes) => {
  const plan = await planOf(sql)
  expect(plan.indexes).toEqual(expect.arrayContaining(indexes))
  expect(
    plan.nodes.filter((node) => node['Node Type'] === 'Seq Scan' && node['Relation Name'] === 'like_rows'),
  ).toEqual([])
})

test('lookups give the row, and hidden accounts have none', async () => {
  const all = await database.pool.query(`select * from "like" where did = 'did:plc:account77' order by rkey`)
  expect(all.rows.length).toBe(200)
  const row = all.rows[76]
  expect(row).toMatchObject({
    uri,
    rkey: '000000000077a',
    subject_uri: 'at://did:plc:bv6ggog3tya2z3vxsub7hnal/app.bsky.feed.post/77',
  })
  const same = async (sql: string, value: string) =>
    expect((await database.pool.query(sql, [value])).rows).toContainEqual(row)
  await same('select * from like_by_uri($1)', uri)
  await same('select * from like_by_cid($1)', row.cid)
  await same('select * from like_by_subject_cid($1)', row.subject_cid)
  for (const wrong of [
    'at://did:plc:account77/app.bsky.feed.post/000000000077a',
    `${uri}/x`,
    uri.slice(5),
    'at://did:plc:account50/app.bsky.feed.like/000000000077a',
  ]) {
    expect((await database.pool.query('select * from like_by_uri($1)', [wrong])).rows).toEqual([])
  }
})

test('sort_at is created_at, but never after the time of its TID or of indexing', async () => {
  const tid = '3jzfcijpj2z2a'
  await database.pool.query(
    `insert into like_rows (repo, rkey, cid, created_at) values
      (1, $1, '\\x00', '2099-01-01Z'), (1, '3jzfcijpj2z2b', '\\x00', '2020-01-01Z'), (1, '3jzfcijpj2z2c', '\\x00', null), (1, 'self', '\\x00', '2099-01-01Z')`,
    [tid],
  )
  const { rows } = await database.pool.query(
    `select rkey, sort_at = tid_time(rkey) as by_tid, sort_at = '2020-01-01Z' as by_created, sort_at = (select indexed_at from repos where id = 1) as by_index
    from "like" where did = 'did:plc:account1' and rkey !~ '^0' order by rkey`,
  )
  expect(rows.map((row) => [row.by_tid, row.by_created, row.by_index])).toEqual([
    [true, false, false],
    [false, true, false],
    [true, false, false],
    [null, false, true],
  ])
})

test('the order of a feed costs no call of a function for each row', async () => {
  const { rows } = await database.pool.query(
    'explain verbose select sort_at from "like" order by sort_at desc limit 20',
  )
  const plan = rows.map((row) => row['QUERY PLAN']).join('\n')
  expect(plan).toContain('LEAST(')
  expect(plan).not.toContain('tid_time')
})

test.each(['some accounts are hidden', 'none is'])(
  'counting a view costs at most twice the table: %s',
  async (hidden) => {
    if (hidden === 'none is') await database.pool.query('delete from hidden_repos where repo > 0')
    await database.pool.query('vacuum analyze hidden_repos')
    const bare = await planOf('select count(*) from like_rows')
    const view = await planOf('select count(*) from "like"')
    expect(view.nodes.map((node) => node['Relation Name'])).not.toContain('repos') // the join is dropped
    expect(view.nodes.map((node) => node['Node Type'])).not.toContain('Nested Loop')
    expect(view.cost / bare.cost).toBeLessThan(2) // by the planner's account: times swing with what else the machine does
    const times = { bare: bare.ms, view: view.ms }
    for (let i = 0; i < 10; i++) {
      times.bare = Math.min(times.bare, (await planOf('select count(*) from like_rows')).ms)
      times.view = Math.min(times.view, (await planOf('select count(*) from "like"')).ms)
    }
    console.log(`count(*): table ${times.bare.toFixed(1)} ms, view ${times.view.toFixed(1)} ms`)
  },
)
