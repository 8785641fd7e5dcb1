// Who lives on the bench's network: seed and size in, one line per repo out. Nothing is built yet.
// Records are log-normal with a median of 20 and a 99th percentile of 5,000, plus a few repos of 100 MiB, which stand among
// the others.
import { createRandom, makeDid } from 'repo-stream/fixtures'

export interface PlannedRepo {
  readonly index: number
  readonly did: string
  readonly records: number
}

export interface PopulationOptions {
  seed: number
  repos: number
  bigRepos: number
  bigRecords: number
}

/** ln(5000 / 20) over the 99th percentile of the normal distribution. */
const spread = 2.374
const median = 20
/** CAR bytes per record of `recordMix`, tree and record together: 100 MiB are about 265,000 records. */
export const carBytesPerRecord = 395

/** Likes, posts, reposts, follows: 60, 20, 10, 10 of 100. */
export const recordMix = { like: 60, post: 20, repost: 10, follow: 10, profile: 0 }

export function planRepos({ seed, repos, bigRepos, bigRecords }: PopulationOptions): PlannedRepo[] {
  const random = createRandom(`pipeline ${seed}`)
  const sizes = Array.from({ length: repos }, () => Math.round(median * Math.exp(spread * normal(random.fraction))))
  for (let big = 0; big < bigRepos; big++) {
    sizes.splice(Math.floor(((big + 0.5) * sizes.length) / bigRepos), 0, bigRecords)
  }
  return sizes.map((records, index) => ({ index, did: makeDid(`pipeline ${seed} ${index}`), records }))
}

function normal(fraction: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - fraction())) * Math.cos(2 * Math.PI * fraction())
}
