// Reads the listings of relays and hosts, one page a call: listRepos, listHosts, listReposByCollection, getRepoStatus.
// In: host and cursor. Out: checked rows and the next cursor. A row that is malformed is left out and counted in
// `refused`; a page that is malformed is a `BadResponse`. Detecting cursors that repeat is the caller's.
import { isDid } from './did-document.ts'
import { IndexerError } from './errors.ts'
import { askXrpc, type FetchContext } from './fetch-xrpc.ts'
import { readJson } from './http-json.ts'

export interface PageRequest {
  /** The origin that is asked. */
  host: string
  cursor?: string | undefined
  limit?: number
}

export interface Page<Row> {
  rows: Row[]
  /** Absent on the last page. */
  cursor: string | undefined
  /** Rows that were malformed. */
  refused: number
  /** Only on the last page: what could not be looked up in the whole pass. Then the source does not count as listed. */
  unasked?: number
}

export interface ListedRepo {
  did: string
  head: string | undefined
  rev: string | undefined
  active: boolean
  /** Of an inactive account: `deactivated`, `takendown`, `suspended`, ... */
  status: string | undefined
}

export interface ListedHost {
  /** A name, with a port if it is not the default one; no scheme. */
  hostname: string
  status: string | undefined
  accountCount: number | undefined
}

/** com.atproto.sync.listRepos; a PDS and a relay allow 1,000 a page. A relay lists active accounts only. */
export async function listRepos(request: PageRequest, context: FetchContext): Promise<Page<ListedRepo>> {
  const { host, cursor, limit = 1000 } = request
  const body = await askJson(host, 'com.atproto.sync.listRepos', { cursor, limit }, context)
  return readPage(body, 'repos', readListedRepo, host)
}

/** com.atproto.sync.listHosts of a relay; 1,000 a page. A PDS answers 401. */
export async function listHosts(request: PageRequest, context: FetchContext): Promise<Page<ListedHost>> {
  const { host, cursor, limit = 1000 } = request
  const body = await askJson(host, 'com.atproto.sync.listHosts', { cursor, limit }, context)
  return readPage(body, 'hosts', readListedHost, host)
}

/** com.atproto.sync.listReposByCollection of a collection directory; DIDs only, up to 10,000 a page. */
export async function listReposByCollection(
  request: PageRequest & { collection: string },
  context: FetchContext,
): Promise<Page<{ did: string }>> {
  const { host, collection, cursor, limit = 2000 } = request
  const body = await askJson(host, 'com.atproto.sync.listReposByCollection', { collection, cursor, limit }, context)
  return readPage(body, 'repos', (row) => (isDid(row.did) ? { did: row.did } : undefined), host)
}

/** com.atproto.sync.getRepoStatus: 200 also for an inactive account. */
export async function getRepoStatus(
  request: { host: string; did: string },
  context: FetchContext,
): Promise<{ did: string; active: boolean; status: string | undefined; rev: string | undefined }> {
  const { host, did } = request
  const body = await askJson(host, 'com.atproto.sync.getRepoStatus', { did }, context)
  const row = isObject(body) ? readListedRepo(body) : undefined
  if (row?.did !== did) throw badPage(host, 'a repo status of another shape')
  return { did, active: row.active, status: row.status, rev: row.rev }
}

/** A row has 60 to 200 bytes, 11 parts and 3 levels. Hosts may add fields, and some give more rows than they were asked for. */
const maxRowBytes = 1024
const maxRowParts = 64
const maxDepth = 16
/** Beside the rows; of a page with few. */
const freeBytes = 1024 ** 2
const freeParts = 1000
/** However many rows were asked for. */
const maxPageBytes = 8 * 1024 ** 2
/** More rows than any limit that we ask for. */
const maxPageRows = 20_000
/** Cursors are short; a long one would be stored and sent for ever. */
const maxCursorLength = 2048

async function askJson(
  host: string,
  method: string,
  parameters: Record<string, string | number | undefined> & { limit?: number },
  context: FetchContext,
): Promise<unknown> {
  const { limit = 1 } = parameters
  const maxBytes = Math.min(maxPageBytes, freeBytes + limit * maxRowBytes)
  const request = { host, method, parameters, accept: 'application/json' }
  const answer = await askXrpc(request, { ...context, maxBytes })
  return await readJson(answer, { maxDepth, maxParts: freeParts + limit * maxRowParts })
}

function readPage<Row>(
  body: unknown,
  field: string,
  readRow: (row: Record<string, unknown>) => Row | undefined,
  host: string,
): Page<Row> {
  const list = isObject(body) ? body[field] : undefined
  if (!isObject(body) || !Array.isArray(list) || list.length > maxPageRows) throw badPage(host, `no list of ${field}`)
  const rows: Row[] = []
  for (const item of list) {
    const row = isObject(item) ? readRow(item) : undefined
    if (row) rows.push(row)
  }
  const cursor = body.cursor ?? undefined
  if (cursor !== undefined && typeof cursor !== 'string') throw badPage(host, 'a cursor that is no text')
  if (cursor !== undefined && cursor.length > maxCursorLength) throw badPage(host, 'a cursor of excessive length')
  if (cursor && !isStorable(cursor)) throw badPage(host, 'a cursor with control characters')
  return { rows, cursor: cursor === '' ? undefined : cursor, refused: list.length - rows.length }
}

function readListedRepo(row: Record<string, unknown>): ListedRepo | undefined {
  if (!isDid(row.did)) return undefined
  return {
    did: row.did,
    head: shortText(row.head),
    rev: shortText(row.rev),
    active: row.active !== false,
    status: shortText(row.status),
  }
}

function readListedHost(row: Record<string, unknown>): ListedHost | undefined {
  const hostname = shortText(row.hostname)
  if (hostname === undefined || !/^[a-z0-9.:[\]-]+$/i.test(hostname)) return undefined
  const count = row.accountCount
  return {
    hostname: hostname.toLowerCase(),
    status: shortText(row.status),
    accountCount: typeof count === 'number' && Number.isSafeInteger(count) && count >= 0 ? count : undefined,
  }
}

function shortText(value: unknown): string | undefined {
  return typeof value === 'string' && value.length <= 256 && isStorable(value) ? value : undefined
}

/** What strangers send goes to the database, which takes no NUL, and to terminals. */
function isStorable(text: string): boolean {
  return /^[^\p{Cc}\p{Cs}]+$/u.test(text)
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function badPage(host: string, what: string): IndexerError {
  return new IndexerError('BadResponse', `${host} sent ${what}`, { details: { host } })
}
