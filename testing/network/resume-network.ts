// A network whose crawl takes a second or two and meets everything that a resumed crawl could get wrong: small repos, one that spills
// and has its own transaction, records that are rejected or odd, accounts that are gone, and repos that always fail.
import type { DemoAccount } from 'indexer/demo/population.ts'
import type { DemoRequest, Reply } from 'indexer/demo/server.ts'
import { buildRepo, encodeRecord } from 'repo-stream/fixtures'
import { type FakeNetwork, startFakeNetwork } from './fakes.ts'

export async function startResumeNetwork(seed: number, accounts: number): Promise<FakeNetwork> {
  const network = await startFakeNetwork({
    seed,
    accounts,
    pdsCount: 4,
    bigRepos: { count: 1, records: 8_000 },
    relayPageLimit: 20,
  })
  const active = network.accounts.filter(({ status }) => status === 'active')
  const [wrong, broken] = active.slice(5)
  if (wrong) network.repoFault(wrong, 'wrong account')
  if (broken) network.repoFault(broken, 'flipped byte')
  const odd = new Map(active.filter((_, index) => index % 4 === 0).map((account) => [account.did, account]))
  const cars = new Map<string, Uint8Array>()
  network.intercept = (request: DemoRequest): Reply | undefined => {
    const account = odd.get(request.params.get('did') ?? '')
    if (account === undefined || request.method !== 'com.atproto.sync.getRepo') return undefined
    const { requests } = network
    requests.getRepo.set(account.did, (requests.getRepo.get(account.did) ?? 0) + 1)
    const body = cars.get(account.did) ?? oddRepo(network, account)
    cars.set(account.did, body)
    return { status: 200, headers: { 'content-type': 'application/vnd.ipld.car' }, body }
  }
  return network
}

const post = 'app.bsky.feed.post'

function oddRepo(network: FakeNetwork, account: DemoAccount): Uint8Array {
  const text = (value: unknown) => ({ $type: post, text: value, createdAt: '2024-05-06T07:08:09.000Z' })
  const records = [
    ...Array.from(network.recordsOf(account), ({ key, value }) => ({ key, value })),
    ...['a\0b', 7, null].map((value, index) => ({ key: `${post}/3odd${index}`, value: text(value) })),
    // A map that ends with the CBOR value `undefined`, which DAG-CBOR does not have.
    { key: `${post}/3bad`, bytes: Buffer.concat([encodeRecord({ a: 1, z: null }).slice(0, -1), Buffer.from([0xf7])]) },
  ]
  const signingKey = network.signingKey(account)
  return buildRepo({
    did: account.did,
    signingKey,
    records: records.sort((a, b) => (a.key < b.key ? -1 : 1)),
    rev: account.rev,
  }).car
}
