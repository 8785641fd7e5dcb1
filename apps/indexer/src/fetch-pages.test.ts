import { describe, expect, it } from 'vitest'
import { getRepoStatus, listHosts, listRepos, listReposByCollection } from './fetch-pages.ts'
import type { FetchContext } from './fetch-xrpc.ts'
import { openTestHttp, startTestServer } from './http-test-server.ts'

const did = 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa'

async function asking<Answer>(
  body: unknown,
  ask: (host: string, context: FetchContext) => Promise<Answer>,
): Promise<{ answer: Answer; asked: string[] }> {
  await using server = await startTestServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(typeof body === 'string' ? body : JSON.stringify(body))
  })
  await using http = openTestHttp()
  return { answer: await ask(server.origin, { http }), asked: server.asked }
}

describe('listRepos', () => {
  it('reads rows and the cursor', async () => {
    const repos = [
      { did, head: 'bafy', rev: '3k', active: true },
      { did: 'did:web:a.example', head: 'bafy', rev: '3k', active: false, status: 'takendown' },
      { did: 'did:plc:bbbbbbbbbbbbbbbbbbbbbbbb', head: 'bafy', rev: '3k' },
    ]
    const { answer, asked } = await asking({ cursor: '17', repos }, (host, context) =>
      listRepos({ host, cursor: 'a b', limit: 3 }, context),
    )
    expect(asked).toEqual(['/xrpc/com.atproto.sync.listRepos?cursor=a+b&limit=3'])
    expect(answer.cursor).toBe('17')
    expect(answer.rows.map(({ did, active, status }) => ({ did, active, status }))).toEqual([
      { did, active: true, status: undefined },
      { did: 'did:web:a.example', active: false, status: 'takendown' },
      { did: 'did:plc:bbbbbbbbbbbbbbbbbbbbbbbb', active: true, status: undefined },
    ])
  })

  it('leaves malformed rows out and counts them', async () => {
    const repos = [null, 'text', {}, { did: 'no did' }, { did: 7 }, { did, rev: 'x'.repeat(10_000), status: 'a\0' }]
    const { answer } = await asking({ repos }, (host, context) => listRepos({ host }, context))
    expect(answer).toEqual({
      rows: [{ did, head: undefined, rev: undefined, active: true, status: undefined }],
      cursor: undefined,
      refused: 5,
    })
  })

  it('takes an empty page, with or without a cursor', async () => {
    const page = (body: unknown) => asking(body, (host, context) => listRepos({ host }, context))
    expect((await page({ repos: [] })).answer).toEqual({ rows: [], cursor: undefined, refused: 0 })
    expect((await page({ repos: [], cursor: 'on' })).answer.cursor).toBe('on')
    expect((await page({ repos: [], cursor: '' })).answer.cursor).toBeUndefined()
    expect((await page({ repos: [], cursor: null })).answer.cursor).toBeUndefined()
  })

  it.each([
    ['no JSON', '{"repos": ['],
    ['no list', { repos: {} }],
    ['no object', []],
    ['nothing', 'null'],
    ['a numeric cursor', { repos: [], cursor: 7 }],
    ['a cursor with a NUL', { repos: [], cursor: 'a\0b' }],
    ['an endless cursor', { repos: [], cursor: 'c'.repeat(5000) }],
    ['too many rows', { repos: new Array(30_000).fill(0) }],
  ])('refuses a page with %s', async (_what, body) => {
    await expect(asking(body, (host, context) => listRepos({ host }, context))).rejects.toMatchObject({
      code: 'BadResponse',
    })
  })

  it('refuses a page larger than its cap', async () => {
    const body = { repos: [], padding: 'x'.repeat(9 * 1024 ** 2) }
    await expect(asking(body, (host, context) => listRepos({ host }, context))).rejects.toMatchObject({
      code: 'BodyTooBig',
    })
  })
})

it('listHosts reads names, counts and status, and refuses what is no name', async () => {
  const hosts = [
    { hostname: 'PDS.example', seq: 1, status: 'active', accountCount: 5 },
    { hostname: 'pds.example:3000', accountCount: -1 },
    { hostname: 'evil.example/path' },
    { hostname: 'user@evil.example' },
    {},
  ]
  const { answer } = await asking({ hosts, cursor: '2' }, (host, context) => listHosts({ host }, context))
  expect(answer).toEqual({
    rows: [
      { hostname: 'pds.example', status: 'active', accountCount: 5 },
      { hostname: 'pds.example:3000', status: undefined, accountCount: undefined },
    ],
    cursor: '2',
    refused: 3,
  })
})

it('listReposByCollection reads DIDs', async () => {
  const { answer, asked } = await asking({ repos: [{ did }, { did: '' }] }, (host, context) =>
    listReposByCollection({ host, collection: 'app.bsky.feed.post' }, context),
  )
  expect(answer).toEqual({ rows: [{ did }], cursor: undefined, refused: 1 })
  expect(asked[0]).toContain('collection=app.bsky.feed.post')
})

it('getRepoStatus reads an inactive account, and refuses the status of another', async () => {
  const ask = (host: string, context: FetchContext) => getRepoStatus({ host, did }, context)
  const { answer } = await asking({ did, active: false, status: 'deactivated' }, ask)
  expect(answer).toEqual({ did, active: false, status: 'deactivated', rev: undefined })
  await expect(asking({ did: 'did:web:b.example', active: true }, ask)).rejects.toMatchObject({ code: 'BadResponse' })
})
