import { createRandom } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import { crawlUnderBlows, randomBlows } from './resume.ts'

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 1_000_000))
const blows = randomBlows(createRandom(`blows ${seed}`), 8)
const parts = 3

test.each(Array.from({ length: parts }, (_, part) => part))(
  `killed at its steps and at random, the crawl ends as if nothing had happened and fetches nothing twice (SEED=${seed}, part %i)`,
  async (part) => {
    const mine = blows.filter((_, index) => index % parts === part)
    const report = await crawlUnderBlows(seed + part, mine, 60)
    expect(report.differences, `SEED=${seed}`).toEqual([])
    expect(report.hits, `SEED=${seed}`).toBeGreaterThan(mine.length / 2)
  },
  240_000,
)
