// The demo network with a switch for every fault that hosts, relays and directories show: `startFakeNetwork` in tests,
// then `repoFault`, `identityFault`, `listingFault`, `migrate` and closing servers, before or while an indexer runs.
import { type DemoNetwork, type DemoNetworkOptions, type ServerRole, startDemoNetwork } from 'indexer/demo/network.ts'
import type { DemoAccount } from 'indexer/demo/population.ts'
import { type DemoRequest, type Handler, json, type Reply, xrpcError } from 'indexer/demo/server.ts'
import type { Random } from 'repo-stream/fixtures'
import { Absences } from './fake-absences.ts'
import { Edits } from './fake-edits.ts'
import { breakIdentity, type DidDocument, type IdentityFault, withPds } from './fake-identities.ts'
import { breakListing, type ListingFault, type Page } from './fake-listings.ts'
import { breakRepo, type RepoFault } from './fake-repos.ts'

export interface FakeNetwork extends DemoNetwork {
  /** What happens to getRepo of this account, `times` times (default: always). */
  repoFault(account: DemoAccount, fault: RepoFault, times?: number): void
  /** What the directory says about this account. */
  identityFault(account: DemoAccount, fault: IdentityFault, times?: number): void
  /** What the relay's listRepos does from now on. */
  listingFault(fault: ListingFault | undefined): void
  /** What the listRepos of this PDS does from now on. */
  hostListingFault(pds: number, fault: ListingFault | undefined): void
  /** The account moves: its DID document names another PDS, which serves it, and the old one has deactivated it. */
  migrate(account: DemoAccount, toPds: number): void
  /** The account writes, changes and deletes records: its repo has another rev from now on. */
  edit(account: DemoAccount, random: Random): void
  /** The account is deleted: its host does not know it any more, and no listing has it. */
  remove(account: DemoAccount): void
  isRemoved(account: DemoAccount): boolean
  /** Listings leave the account out from now on, or no longer. */
  omit(account: DemoAccount, isOmitted?: boolean): void
  /** What the server would answer by itself. */
  handle(request: DemoRequest, role: ServerRole): Promise<Reply>
  /** Asked before every request; a reply stands in for the server's. */
  intercept: ((request: DemoRequest, role: ServerRole) => Reply | Promise<Reply | undefined> | undefined) | undefined
}

interface Switch<Fault> {
  readonly fault: Fault
  times: number
}

export async function startFakeNetwork(options: DemoNetworkOptions = {}): Promise<FakeNetwork> {
  const repoFaults = new Map<string, Switch<RepoFault>>()
  const identityFaults = new Map<string, Switch<IdentityFault>>()
  const migrations = new Map<string, number>()
  const servers = new Map<string, Handler>()
  const edits = new Edits()
  const absences = new Absences()
  const listingFaults = new Map<string, { fault: ListingFault; asked: number }>() // by server
  let network: DemoNetwork | undefined
  let fake: FakeNetwork | undefined

  const findAccount = (did: string | null) => network?.accounts.find((account) => account.did === did)

  function wrap(handler: Handler, role: ServerRole): Handler {
    servers.set(nameOf(role), role.kind === 'plc' ? handler : absences.around(edits.around(handler)))
    return async (request) => (await fake?.intercept?.(request, role)) ?? (await handle(request, role))
  }

  async function handle(request: DemoRequest, role: ServerRole): Promise<Reply> {
    const handler = servers.get(nameOf(role))
    if (handler === undefined) throw new Error(`no server ${nameOf(role)}`)
    if (role.kind === 'plc') return await answerPlc(handler, request)
    const listing = listingFaults.get(nameOf(role))
    if (request.method === 'com.atproto.sync.listRepos') return await answerListing(handler, request, { role, listing })
    return role.kind === 'pds' ? await answerPds(handler, request, role.index) : await handler(request)
  }

  async function answerPlc(handler: Handler, request: DemoRequest): Promise<Reply> {
    const did = request.method.slice(1)
    const reply = await handler(request)
    if (reply.status !== 200 || typeof reply.body !== 'string' || !did.startsWith('did:')) return reply
    const movedTo = migrations.get(did)
    const document = JSON.parse(reply.body) as DidDocument
    const current = movedTo === undefined ? document : withPds(document, network?.pdsUrls[movedTo] ?? '')
    const fault = take(identityFaults, did)
    return fault === undefined ? json(200, current) : breakIdentity(fault, current)
  }

  async function answerPds(handler: Handler, request: DemoRequest, index: number): Promise<Reply> {
    const did = request.params.get('did')
    const movedTo = did === null ? undefined : migrations.get(did)
    const account = findAccount(did)
    const origin = account && servers.get(`pds ${account.pds}`)
    if (movedTo !== undefined && origin !== undefined) {
      if (index !== movedTo) return xrpcError(400, 'RepoDeactivated', `Repo has been deactivated: ${did}`)
      return await origin(request)
    }
    const isGetRepo = request.method === 'com.atproto.sync.getRepo'
    const fault = isGetRepo && did !== null ? take(repoFaults, did) : undefined
    if (fault === undefined || account === undefined || network === undefined) return await handler(request)
    const { accounts, pdsUrls } = network
    return await breakRepo(fault, {
      request,
      account,
      pdsUrl: pdsUrls[index] ?? '',
      signingKey: network.signingKey(account),
      neighbour: accounts.find((other) => other.status === 'active' && other !== account) ?? account,
      records: () => fake?.recordsOf(account) ?? [],
      answer: async (wanted) => {
        const host = servers.get(`pds ${findAccount(wanted)?.pds}`) ?? handler
        return await host({ ...request, params: new URLSearchParams({ did: wanted }) })
      },
    })
  }

  async function answerListing(
    handler: Handler,
    request: DemoRequest,
    { role, listing }: { role: ServerRole; listing: { fault: ListingFault; asked: number } | undefined },
  ): Promise<Reply> {
    const answer = async (cursor: string | undefined): Promise<Page> => {
      const params = new URLSearchParams(request.params)
      params.delete('cursor')
      if (cursor !== undefined) params.set('cursor', cursor)
      const { body } = await handler({ ...request, params })
      const page: Page = JSON.parse(typeof body === 'string' ? body : '{"repos":[]}')
      return role.kind === 'pds' ? withMigrations(page, { pds: role.index, isFirst: cursor === undefined }) : page
    }
    const cursor = request.params.get('cursor') ?? undefined
    if (listing === undefined) return migrations.size > 0 ? json(200, await answer(cursor)) : await handler(request)
    listing.asked++
    const others = (network?.accounts ?? []).filter(
      ({ did, pds }) => nameOf(role) !== `pds ${migrations.get(did) ?? pds}`,
    )
    return await breakListing(listing.fault, {
      request,
      asked: listing.asked,
      answer,
      others: others.map(({ did }) => did),
    })
  }

  /** After a migration both hosts list the account, the old one as deactivated; the new one, here, on its first page. */
  function withMigrations(page: Page, { pds, isFirst }: { pds: number; isFirst: boolean }): Page {
    const rows = page.repos as { did: string }[]
    const kept = rows.map((row) => (migrations.has(row.did) ? { ...row, active: false, status: 'deactivated' } : row))
    const come = (network?.accounts ?? []).filter(({ did }) => isFirst && migrations.get(did) === pds)
    return { ...page, repos: [...kept, ...come.map(({ did, rev }) => ({ did, rev, head: 'bafyreib', active: true }))] }
  }

  function setListing(server: string, fault: ListingFault | undefined): void {
    if (fault === undefined) listingFaults.delete(server)
    else listingFaults.set(server, { fault, asked: 0 })
  }

  const demo = await startDemoNetwork({ ...options, wrap })
  const recordsOf = (account: DemoAccount) => edits.recordsOf(account) ?? demo.recordsOf(account)
  network = demo
  fake = {
    ...demo,
    recordsOf,
    edit: (account, random) => {
      edits.edit(account, recordsOf(account), { random, signingKey: demo.signingKey(account) })
    },
    remove: ({ did }) => absences.set(did, true),
    isRemoved: ({ did }) => absences.isDeleted(did),
    omit: ({ did }, isOmitted = true) => (isOmitted ? absences.set(did, false) : absences.delete(did)),
    handle,
    intercept: undefined,
    repoFault: ({ did }, fault, times = Number.POSITIVE_INFINITY) => void repoFaults.set(did, { fault, times }),
    identityFault: ({ did }, fault, times = Number.POSITIVE_INFINITY) => void identityFaults.set(did, { fault, times }),
    listingFault: (fault) => setListing('relay', fault),
    hostListingFault: (pds, fault) => setListing(`pds ${pds}`, fault),
    migrate: ({ did }, toPds) => void migrations.set(did, toPds),
  }
  return fake
}

const nameOf = (role: ServerRole) => (role.kind === 'pds' ? `pds ${role.index}` : role.kind)

function take<Fault>(switches: Map<string, Switch<Fault>>, did: string): Fault | undefined {
  const found = switches.get(did)
  if (found === undefined) return undefined
  found.times--
  if (found.times <= 0) switches.delete(did)
  return found.fault
}
