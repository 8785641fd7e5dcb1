// What a relay or a host can do wrong with listRepos, one entry for each fault: request and right answer in, wrong answer out.
import type { DemoRequest, Reply } from 'indexer/demo/server.ts'
import { json, xrpcError } from 'indexer/demo/server.ts'
import { makeDid, tidFromMicros } from 'repo-stream/fixtures'
import { html } from './fake-repos.ts'

export type ListingFault = keyof typeof listingFaults

export interface ListingContext {
  readonly request: DemoRequest
  /** How often a listing was asked for since the fault was switched on, this request included. */
  readonly asked: number
  /** What the server would answer at a cursor; undefined: at the beginning. */
  answer(cursor: string | undefined): Promise<Page>
  /** DIDs of accounts that live elsewhere. */
  readonly others: readonly string[]
}

export interface Page {
  repos: unknown[]
  cursor?: string
}

export async function breakListing(fault: ListingFault, context: ListingContext): Promise<Reply> {
  return await listingFaults[fault](context)
}

const cursorOf = ({ request }: ListingContext) => request.params.get('cursor') ?? undefined

const commit = { head: 'bafyreib', rev: tidFromMicros(Date.UTC(2025, 0) * 1000, 0) }

const listingFaults = {
  /** The second page's cursor leads to the second page. */
  'repeated cursor': async (context: ListingContext) => {
    const page = await context.answer(cursorOf(context))
    const cursor = cursorOf(context)
    return json(200, cursor === undefined ? page : { ...page, cursor })
  },
  /** The third page's cursor leads back to the second: a circle. */
  'backward cursor': async (context: ListingContext) => {
    const first = await context.answer(undefined)
    const second = await context.answer(first.cursor)
    const page = await context.answer(cursorOf(context))
    return json(200, cursorOf(context) === second.cursor ? { ...page, cursor: first.cursor } : page)
  },
  /** Every page has a cursor that was never seen, and the same rows. */
  'lying cursor': async (context: ListingContext) => {
    const { repos } = await context.answer(undefined)
    return json(200, { repos, cursor: String(1_000_000 + context.asked) })
  },
  /** Before every page but the first comes one without rows. */
  'empty pages': async (context: ListingContext) => {
    const cursor = cursorOf(context)
    if (cursor === undefined || cursor.startsWith('0')) return json(200, await context.answer(cursor))
    return json(200, { repos: [], cursor: `0${cursor}` })
  },
  /** Rows that are no repos among those that are. */
  'malformed rows': async (context: ListingContext) => {
    const page = await context.answer(cursorOf(context))
    const odd = [null, 7, 'did:plc:x', {}, { did: 'not a did', head: '', rev: '' }, { did: ['did:plc:a'] }]
    return json(200, { ...page, repos: [...odd, ...page.repos, ...odd] })
  },
  /** Every row twice, and the rows of the first page on every page. */
  'repeated rows': async (context: ListingContext) => {
    const first = await context.answer(undefined)
    const page = await context.answer(cursorOf(context))
    return json(200, { ...page, repos: [...page.repos, ...page.repos, ...first.repos] })
  },
  /** Lists the accounts of all other hosts as its own. */
  'steals accounts': async (context: ListingContext) => {
    const page = await context.answer(cursorOf(context))
    return json(200, {
      ...page,
      repos: [...context.others.map((did) => ({ did, active: true, ...commit })), ...page.repos],
    })
  },
  /** Says that all accounts of other hosts were taken down. */
  'ends accounts': async (context: ListingContext) => {
    const page = await context.answer(cursorOf(context))
    const ended = context.others.map((did) => ({ did, active: false, status: 'takendown', ...commit }))
    return json(200, { ...page, repos: [...ended, ...page.repos] })
  },
  /** Every page is of accounts that never were. */
  'invents accounts': async (context: ListingContext) => {
    const repos = Array.from({ length: 1000 }, (_, index) => ({ did: makeDid(`${context.asked} ${index}`), ...commit }))
    return json(200, { repos, cursor: String(context.asked) })
  },
  /** Every second request is refused for a second. */
  'rate limit': async (context: ListingContext) => {
    if (context.asked % 2 === 0) return json(200, await context.answer(cursorOf(context)))
    return json(429, { error: 'RateLimitExceeded', message: 'Slow down' }, { 'retry-after': '1' })
  },
  'fails at times': async (context: ListingContext) => {
    if (context.asked % 2 === 0) return json(200, await context.answer(cursorOf(context)))
    return xrpcError(502, 'UpstreamFailure', 'The fake fails every second time')
  },
  fails: async () => xrpcError(500, 'InternalServerError', 'The fake always fails'),
  html: async () => html(200),
} as const satisfies Record<string, (context: ListingContext) => Promise<Reply>>
