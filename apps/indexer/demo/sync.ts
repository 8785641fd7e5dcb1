// The com.atproto.sync answers that a PDS and a relay give in the same way: one account's status, latest commit, and
// rows of a listing. Inactive accounts are named with their status; deleted ones are unknown.
import { setImmediate } from 'node:timers/promises'
import type { DemoAccount } from './population.ts'
import { json, type Reply, xrpcError } from './server.ts'
import type { DemoWorld } from './world.ts'

/** The account that `did` names, or the answer that says why there is none. */
export function findAccount(params: URLSearchParams, world: DemoWorld): DemoAccount | Reply {
  const did = params.get('did')
  if (did === null) return xrpcError(400, 'InvalidRequest', 'Error: Params must have the property "did"')
  if (!/^did:[a-z]+:[a-zA-Z0-9._:%-]+$/.test(did))
    return xrpcError(400, 'InvalidRequest', 'Error: did must be a valid did')
  const account = world.population.byDid(did)
  return account && account.status !== 'deleted' ? account : repoNotFound(did)
}

export const isReply = (found: DemoAccount | Reply): found is Reply => !('did' in found)

export const repoNotFound = (did: string) => xrpcError(400, 'RepoNotFound', `Could not find repo for DID: ${did}`)

export function repoStatus({ did, status, rev }: DemoAccount): Reply {
  return json(200, status === 'active' ? { did, active: true, rev } : { did, active: false, status })
}

/** Rows of a listing, a repo built for each that has none yet; other requests are served in between. */
export async function listRows(accounts: readonly DemoAccount[], world: DemoWorld): Promise<unknown[]> {
  const rows: unknown[] = []
  for (const account of accounts) {
    const { did, rev, status } = account
    let head = world.repos.head(account)
    if (head === undefined && world.exactHeads) {
      await setImmediate()
      head = world.repos.get(account).head
    }
    const activity = status === 'active' ? { active: true } : { active: false, status }
    rows.push({ did, head: head ?? world.placeholderCid, rev, ...activity })
  }
  return rows
}

/** `limit` as servers read it: 1 to 1000, 500 when it is left out. */
export function readLimit(params: URLSearchParams): number | Reply {
  const text = params.get('limit') ?? '500'
  const limit = Number(text)
  if (Number.isInteger(limit) && limit >= 1 && limit <= 1000) return limit
  return xrpcError(400, 'InvalidRequest', `Error: limit must be an integer from 1 to 1000, not ${text}`)
}

/** The index of the first item that `isPast`, in a list where all after it are; its length when none is. */
export function firstIndex<T>(items: readonly T[], isPast: (item: T) => boolean): number {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >> 1
    const item = items[middle]
    if (item !== undefined && isPast(item)) high = middle
    else low = middle + 1
  }
  return low
}
