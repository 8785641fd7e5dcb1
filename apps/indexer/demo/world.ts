// What the demo servers share: the population, its repos, and where each account lives.
import type { DemoAccount, Population } from './population.ts'
import type { DemoRepos } from './repos.ts'

export interface DemoWorld {
  readonly population: Population
  readonly repos: DemoRepos
  /** Listings name each repo's real head. Without it they do not build repos, and name a placeholder. */
  readonly exactHeads: boolean
  readonly placeholderCid: string
  readonly relayPageLimit: number
  readonly pdsUrls: readonly string[]
  pdsUrl(account: DemoAccount): string
}
