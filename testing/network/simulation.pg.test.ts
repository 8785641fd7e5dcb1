import { expect, test } from 'vitest'
import { simulate } from './simulation.ts'

const seeds = process.env.SEED === undefined ? [1, 2, 3] : [Number(process.env.SEED)]

test.each(seeds)(
  'after faults, outages, moves and kills at random the tables equal the truth, and counters what is there (seed %i)',
  async (seed) => {
    const report = await simulate(seed, { kills: 4 })
    expect(report.differences, `SEED=${seed}`).toEqual([])
  },
  240_000,
)
