import { randomBytes } from 'node:crypto'
import { gzipSync } from 'node:zlib'
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
    const encoding = response.req.url?.includes('cursor=gzip') ? { 'content-encoding': 'gzip' } : {}
    response.writeHead(200, { 'content-type': 'application/json', ...encoding })
    const text = typeof body === 'string' ? body : JSON.stringify(body)
    response.end('content-encoding' in encoding ? gzipSync(text) : text)
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

  it('refuses a page larger than its cap, which depends on how many rows were asked for', async () => {
    const body = { repos: [], padding: 'x'.repeat(3 * 1024 ** 2) }
    const page = (limit: number) => asking(body, (host, context) => listRepos({ host, limit }, context))
    await expect(page(1000)).rejects.toMatchObject({ code: 'BodyTooBig' })
    expect((await page(3000)).answer.rows).toEqual([])
  })

  it('refuses a page of a few bytes that expand into many', async () => {
    const body = `{"repos":[{"did":"${did}"},${nested(500_000)}]}`
    const page = asking(body, (host, context) => listRepos({ host, cursor: 'gzip' }, context))
    await expect(page).rejects.toMatchObject({ code: 'CompressionBomb' })
  })

  it.each([
    ['nests deeper than any listing', nested(500_000)],
    ['nests a little deeper, in objects', `${'{"a":'.repeat(20)}1${'}'.repeat(20)}`],
    ['nests behind a string that seems to go on', `"\\\\", ${nested(20)}`],
    ['has more values than its rows can have', `[${'{},'.repeat(200_000)}0]`],
    ['has more keys than its rows can have', JSON.stringify(Object.fromEntries(numbers(50_000).map((n) => [n, n])))],
  ])('refuses to parse a page that %s', async (_, row) => {
    const page = asking(`{"repos":[{"did":"${did}"},${row}]}`, (host, context) => listRepos({ host }, context))
    await expect(page).rejects.toMatchObject({ code: 'BadResponse', message: expect.stringContaining('answered JSON') })
  })

  it('does not take what is in a string for nesting', async () => {
    const status = `"${'['.repeat(50)}\\`
    const { answer } = await asking({ repos: [{ did, status }, { did }] }, (host, context) =>
      listRepos({ host }, context),
    )
    expect(answer.rows.map((row) => row.status)).toEqual([status, undefined])
  })
})

describe('a page as full as it can be is read', () => {
  const base32 = (length: number) => randomBytes(length).toString('hex').slice(0, length)

  it.each(['plain', 'gzip'])('of listRepos, %s', async (cursor) => {
    const repos = numbers(1000).map((n) => ({
      did: n % 10 === 0 ? `did:web:${base32(60)}.a-long-name-of-a-host.example` : `did:plc:${base32(24)}`,
      head: `bafyrei${base32(52)}`,
      rev: base32(13),
      active: n % 5 !== 0,
      ...(n % 5 === 0 ? { status: 'deactivated' } : {}),
      later: { fields: [{ of: ['a', 'protocol'] }, null, 1.5] },
    }))
    const { answer } = await asking({ cursor: '1', repos }, (host, context) =>
      listRepos({ host, limit: 1000, cursor }, context),
    )
    expect(answer.rows.map((row) => row.did)).toEqual(repos.map((row) => row.did))
    expect(answer.refused).toBe(0)
  })

  it.each(['plain', 'gzip'])('of listReposByCollection, %s', async (cursor) => {
    const repos = numbers(10_000).map(() => ({ did: `did:plc:${base32(24)}` }))
    const { answer } = await asking({ cursor: '1', repos }, (host, context) =>
      listReposByCollection({ host, collection: 'app.bsky.feed.post', limit: 10_000, cursor }, context),
    )
    expect(answer.rows).toEqual(repos)
  })

  it.each(['plain', 'gzip'])(
    'of a host that gives three times as many rows as it was asked for, %s',
    async (cursor) => {
      const repos = numbers(3000).map(() => ({ did: `did:plc:${base32(24)}`, head: 'bafy', rev: '3k', active: true }))
      const { answer } = await asking({ repos }, (host, context) => listRepos({ host, limit: 1000, cursor }, context))
      expect(answer.rows.length).toBe(3000)
    },
  )
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

function nested(depth: number): string {
  return '['.repeat(depth) + ']'.repeat(depth)
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n)
}
