// One demo PDS: the public com.atproto.sync reads of the accounts that live on it, with the status codes and the cursor
// of @atproto/pds (opaque, on every page that is not empty; inactive accounts are listed).
import type { DemoAccount } from './population.ts'
import { type DemoRequest, type Handler, json, type Reply, xrpcError } from './server.ts'
import { findAccount, firstIndex, isReply, listRows, readLimit, repoNotFound, repoStatus } from './sync.ts'
import type { DemoWorld } from './world.ts'

const chunkBytes = 64 * 1024

export function createPds(pds: number, world: DemoWorld): Handler {
  const local = world.population.accounts.filter((account) => account.pds === pds && account.status !== 'deleted')
  return async (request) => {
    switch (request.method) {
      case 'com.atproto.sync.listRepos':
        return await listRepos(local, request, world)
      case 'com.atproto.sync.getRepo':
        return ofActive(request, pds, world, (account) => getRepo(account, request, world))
      case 'com.atproto.sync.getLatestCommit':
        return ofActive(request, pds, world, (account) => {
          const { head: cid, rev } = world.repos.get(account)
          return json(200, { cid, rev })
        })
      case 'com.atproto.sync.getRepoStatus': {
        const found = findLocal(request, pds, world)
        return isReply(found) ? found : repoStatus(found)
      }
      case '_health':
        return json(200, { version: 'demo' })
      default:
        return xrpcError(401, 'AuthMissing', 'Authentication Required')
    }
  }
}

async function listRepos(local: readonly DemoAccount[], { params }: DemoRequest, world: DemoWorld): Promise<Reply> {
  const limit = readLimit(params)
  if (typeof limit !== 'number') return limit
  const cursor = params.get('cursor') ?? ''
  const afterMs = Number(cursor.split('::')[0] || '-1')
  if (!Number.isFinite(afterMs)) return xrpcError(400, 'InvalidRequest', 'Malformed cursor')
  const from = firstIndex(local, ({ createdMs }) => createdMs > afterMs) // no two accounts of the demo share a time
  const page = local.slice(from, from + limit)
  const last = page.at(-1)
  return json(200, { repos: await listRows(page, world), ...(last && { cursor: `${last.createdMs}::${last.did}` }) })
}

function findLocal({ params }: DemoRequest, pds: number, world: DemoWorld): DemoAccount | Reply {
  const found = findAccount(params, world)
  return isReply(found) || found.pds === pds ? found : repoNotFound(found.did)
}

function ofActive(request: DemoRequest, pds: number, world: DemoWorld, answer: (account: DemoAccount) => Reply): Reply {
  const found = findLocal(request, pds, world)
  if (isReply(found)) return found
  if (found.status === 'active') return answer(found)
  const [error, what] = refusals[found.status]
  return xrpcError(400, error, `Repo has been ${what}: ${found.did}`)
}

const refusals = {
  deactivated: ['RepoDeactivated', 'deactivated'],
  takendown: ['RepoTakendown', 'takendown'],
  suspended: ['RepoSuspended', 'suspended'],
  deleted: ['RepoNotFound', 'deleted'],
} as const

/** The blocks newer than `since`: all of them, or with a rev that is not older than the repo's, the header alone. */
function getRepo(account: DemoAccount, { params }: DemoRequest, world: DemoWorld): Reply {
  const { car, rev } = world.repos.get(account)
  const since = params.get('since')
  const bytes = since !== null && since >= rev ? car.subarray(0, headerLength(car)) : car
  return { status: 200, headers: { 'content-type': 'application/vnd.ipld.car' }, body: chunks(bytes) }
}

/** A CAR's header: an LEB128 length of at most two bytes here, then that many bytes. */
function headerLength(car: Uint8Array): number {
  const [first = 0, second = 0] = car
  return first < 0x80 ? 1 + first : 2 + (first & 0x7f) + second * 128
}

function* chunks(bytes: Uint8Array): Generator<Uint8Array> {
  for (let start = 0; start < bytes.length; start += chunkBytes) yield bytes.subarray(start, start + chunkBytes)
}
