import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Page } from './fetch-pages.ts'
import { openTestHttp } from './http-test-server.ts'
import type { Listed } from './listing.ts'
import { createResolver } from './resolve.ts'
import { createHandleResolver } from './resolve-handle.ts'
import { fileSource, type NamesContext, readName } from './source-names.ts'

let folder: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'names-'))
})
afterEach(async () => await rm(folder, { recursive: true, force: true }))

async function readFile(
  text: string,
): Promise<{ pages: Pick<Page<Listed>, 'rows' | 'refused' | 'unasked'>[]; told: string[] }> {
  const path = join(folder, 'names')
  await writeFile(path, text)
  const told: string[] = []
  await using http = openTestHttp()
  const context: NamesContext = {
    fetch: { http },
    resolver: createResolver({ http, plcUrls: [] }),
    resolveHandle: createHandleResolver(http, {
      dnsServers: ['127.0.0.1:1'],
      wellKnownUrl: () => 'http://127.0.0.1:1',
    }),
    state: { settledRepos: async () => new Set() },
    retry: { baseDelayMs: 1, maxAttempts: 2 },
    log: {
      warn: (values: { line?: number; name?: string }) => void told.push(`${values.line} ${values.name}`),
      debug: () => {},
    },
    signal: new AbortController().signal,
  }
  const source = fileSource(path, context)
  const pages: Pick<Page<Listed>, 'rows' | 'refused' | 'unasked'>[] = []
  let cursor: string | undefined
  do {
    const page = await source.page(cursor)
    const { cursor: next, ...rest } = page
    pages.push(rest)
    cursor = next
  } while (cursor !== undefined)
  return { pages, told }
}

const did = (index: number) => `did:plc:${String(index).padStart(24, 'a')}`

test('a file of any length is read in pages, each from where the last one ended', async () => {
  const dids = Array.from({ length: 2500 }, (_, index) => did(index))
  const { pages } = await readFile(`${dids.join('\n')}\n`)
  expect(pages.map(({ rows }) => rows.length)).toEqual([1000, 1000, 500])
  expect(pages.flatMap(({ rows }) => rows.map((row) => row.did))).toEqual(dids)
  expect(pages[0]?.rows[0]).toEqual({ did: did(0), active: undefined, isNamed: true })
})

test('bad lines are told with their number, comments and blank lines are not', async () => {
  const lines = [
    `# a comment`,
    did(1),
    '',
    '   ',
    'not a name',
    `${did(2)} # why`,
    'did:plc:!',
    'x'.repeat(5000),
    did(3),
  ]
  const { pages, told } = await readFile(lines.join('\r\n'))
  expect(pages).toEqual([
    { rows: [1, 2, 3].map((index) => ({ did: did(index), active: undefined, isNamed: true })), refused: 3, unasked: 0 },
  ])
  expect(told).toEqual(['5 not a name', '7 did:plc:!', '8 undefined'])
})

test('a handle whose domain cannot be asked is told and counted on the last page, and the others go on', async () => {
  const dids = Array.from({ length: 1000 }, (_, index) => did(index))
  const { pages, told } = await readFile(`nobody.example\n${dids.join('\n')}`)
  expect(pages.map(({ rows, refused, unasked }) => [rows.length, refused, unasked])).toEqual([
    [999, 0, undefined],
    [1, 0, 1],
  ])
  expect(told).toEqual(['1 nobody.example'])
})

test('when no domain at all can be asked the page is not passed: that is an outage', async () => {
  const handles = Array.from({ length: 500 }, (_, index) => `name${index}.example`)
  await expect(readFile([did(1), ...handles].join('\n'))).rejects.toMatchObject({ code: 'HandleUnasked' })
})

test('of a file that is something else altogether, fifty lines are told', async () => {
  const { pages, told } = await readFile('%PDF\n'.repeat(3000))
  expect(pages.map(({ refused }) => refused)).toEqual([1000, 1000, 1000, 0])
  expect(told).toHaveLength(50)
})

test('an empty file is an empty page', async () => {
  expect(await readFile('')).toEqual({ pages: [{ rows: [], refused: 0, unasked: 0 }], told: [] })
})

test('names are read as people write them', () => {
  expect(readName('at://Alice.Example')).toBe('alice.example')
  expect(readName('@alice.example')).toBe('alice.example')
  expect(readName(`at://${did(1)}`)).toBe(did(1))
  expect(readName('did:web:pds.example.com')).toBe('did:web:pds.example.com')
  expect(readName('alice')).toBeUndefined()
  expect(readName('alice example.com')).toBeUndefined()
})
