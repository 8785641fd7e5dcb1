// Signed CARs of demo accounts: an account in, its repo out, built when first asked for and kept while there is room.
// Keys depend on the seed alone, so a repo that was dropped is built again to the same bytes.
import { buildRepo, type SigningKey } from 'repo-stream/fixtures'
import type { DemoAccount, Population } from './population.ts'
import type { DemoRecord } from './posts.ts'
import { recordsOf } from './records.ts'
import { demoSigningKey } from './signing-key.ts'

export interface DemoRepo {
  readonly car: Uint8Array
  /** CID of the signed commit, as text. */
  readonly head: string
  readonly rev: string
}

export interface DemoRepos {
  get(account: DemoAccount): DemoRepo
  /** `undefined` when the repo is not built: listings of a large network do not build it. */
  head(account: DemoAccount): string | undefined
  signingKey(account: DemoAccount): SigningKey
  records(account: DemoAccount): Iterable<DemoRecord>
}

export function createRepos(population: Population, options: { cacheBytes: number }): DemoRepos {
  const kept = new Map<number, DemoRepo>()
  const heads = new Map<number, string>()
  let keptBytes = 0

  function get(account: DemoAccount): DemoRepo {
    const repo = kept.get(account.index) ?? build(account)
    kept.delete(account.index)
    kept.set(account.index, repo) // the most recently asked for stands last
    return repo
  }

  function build(account: DemoAccount): DemoRepo {
    const records = Array.from(recordsOf(account, population))
    const { car, head, rev } = buildRepo({
      did: account.did,
      signingKey: signingKey(account),
      records,
      rev: account.rev,
    })
    const repo = { car, head, rev }
    heads.set(account.index, repo.head)
    keptBytes += repo.car.length
    for (const [index, oldest] of kept) {
      if (keptBytes <= options.cacheBytes) break
      kept.delete(index)
      keptBytes -= oldest.car.length
    }
    return repo
  }

  const signingKey = (account: DemoAccount) => demoSigningKey(population.options.seed, account.index)

  return {
    get,
    head: (account) => heads.get(account.index),
    signingKey,
    records: (account) => recordsOf(account, population),
  }
}
