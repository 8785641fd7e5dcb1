// The demo's relay: it lists the network's active accounts and hosts, and sends whoever wants a repo to its PDS, with
// the cursors of indigo's relay (decimal account numbers, only on full pages).
import type { DemoAccount } from './population.ts'
import { type DemoRequest, type Handler, json, type Reply, xrpcError } from './server.ts'
import { findAccount, firstIndex, isReply, listRows, readLimit, repoStatus } from './sync.ts'
import type { DemoWorld } from './world.ts'

export function createRelay(world: DemoWorld): Handler {
  return async (request) => {
    switch (request.method) {
      case 'com.atproto.sync.listRepos':
        return await listRepos(request, world)
      case 'com.atproto.sync.listHosts':
        return listHosts(request, world)
      case 'com.atproto.sync.listReposByCollection':
        return listReposByCollection(request, world)
      case 'com.atproto.sync.getRepo':
        return redirect(request, world)
      case 'com.atproto.sync.getRepoStatus':
      case 'com.atproto.sync.getLatestCommit':
        return status(request, world)
      default:
        return xrpcError(404, 'MethodNotImplemented', `${request.method} is not implemented by this relay`)
    }
  }
}

async function listRepos({ params }: DemoRequest, world: DemoWorld): Promise<Reply> {
  const asked = readLimit(params)
  if (typeof asked !== 'number') return asked
  const limit = Math.min(asked, world.relayPageLimit)
  const after = readCursor(params)
  if (after === undefined) return xrpcError(400, 'InvalidRequest', 'cursor must be an account number')
  const page = take(after, limit, world, ({ status, relayKnows }) => status === 'active' || !relayKnows)
  const rows = await listRows(
    page.map((account) => ({ ...account, status: 'active' })),
    world,
  )
  const cursor = page.length === limit && limit > 1 ? page.at(-1)?.uid : undefined
  return json(200, { repos: rows, ...(cursor !== undefined && { cursor: String(cursor) }) })
}

function listHosts({ params }: DemoRequest, world: DemoWorld): Reply {
  const limit = readLimit(params)
  if (typeof limit !== 'number') return limit
  const after = readCursor(params)
  if (after === undefined) return xrpcError(400, 'InvalidRequest', 'cursor must be a host number')
  const counts = new Array<number>(world.pdsUrls.length).fill(0)
  for (const { pds } of world.population.accounts) counts[pds] = (counts[pds] ?? 0) + 1
  const hosts = world.pdsUrls.slice(after, after + limit).map((url, place) => ({
    hostname: new URL(url).host,
    seq: 1,
    status: 'active',
    accountCount: counts[after + place],
  }))
  const end = after + hosts.length
  return json(200, { hosts, ...(end < world.pdsUrls.length && { cursor: String(end) }) })
}

/** As the collection directory answers: DIDs alone, an opaque cursor, up to 10,000 a page. */
function listReposByCollection({ params }: DemoRequest, world: DemoWorld): Reply {
  const collection = params.get('collection')
  if (collection === null) return xrpcError(400, 'InvalidRequest', 'collection is required')
  const limit = Math.min(Math.max(1, Number(params.get('limit') ?? 500) || 1), 10_000)
  const after = Number(Buffer.from(params.get('cursor') ?? '', 'base64url').toString() || 0)
  const page = take(after, limit, world, ({ status, counts }) => {
    return status === 'active' && Object.entries(counts).some(([name, count]) => name === collection && count > 0)
  })
  const last = page.length === limit ? page.at(-1) : undefined
  const cursor = last && Buffer.from(String(last.uid)).toString('base64url')
  return json(200, { repos: page.map(({ did }) => ({ did })), ...(cursor && { cursor }) })
}

function redirect({ params }: DemoRequest, world: DemoWorld): Reply {
  const found = findAccount(params, world)
  if (isReply(found)) return xrpcError(404, 'RepoNotFound', 'account not found')
  const location = `${world.pdsUrl(found)}/xrpc/com.atproto.sync.getRepo?${params}`
  return {
    status: 302,
    headers: { location, 'content-type': 'text/html; charset=utf-8' },
    body: `<a href="${location}">Found</a>.\n`,
  }
}

function status({ method, params }: DemoRequest, world: DemoWorld): Reply {
  const found = findAccount(params, world)
  if (isReply(found)) return xrpcError(404, 'RepoNotFound', 'account not found')
  if (method === 'com.atproto.sync.getRepoStatus') return repoStatus(found)
  return json(200, { cid: world.repos.get(found).head, rev: found.rev })
}

function readCursor(params: URLSearchParams): number | undefined {
  const text = params.get('cursor') ?? '0'
  return /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

/** The first `limit` accounts after the one numbered `after` that are `wanted`. */
function take(
  after: number,
  limit: number,
  { population: { accounts } }: DemoWorld,
  wanted: (account: DemoAccount) => boolean,
): DemoAccount[] {
  const taken: DemoAccount[] = []
  for (let index = firstIndex(accounts, ({ uid }) => uid > after); taken.length < limit; index++) {
    const account = accounts[index]
    if (account === undefined) break
    if (wanted(account)) taken.push(account)
  }
  return taken
}
