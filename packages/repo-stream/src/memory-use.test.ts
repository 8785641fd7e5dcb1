// What a load holds beside the bytes of the CAR, asked of it through the budget that it has to take every byte from.
import { expect, test } from 'vitest'
import { buildRepo, generateRecords, makeDid, makeSigningKey } from '../fixtures/index.ts'
import { type CarSource, loadCar, type MemoryBudget } from './index.ts'

const repo = buildRepo({
  did: makeDid('memory'),
  signingKey: makeSigningKey('memory'),
  records: generateRecords({ seed: 'memory', count: 40_000 }),
})

function countingBudget(): MemoryBudget & { held: number; peak: number } {
  return {
    held: 0,
    peak: 0,
    take(bytes) {
      this.held += bytes
      this.peak = Math.max(this.peak, this.held)
      return true
    },
    give(bytes) {
      this.held -= bytes
    },
  }
}

test.each([
  ['given whole', (): CarSource => repo.car, 0],
  ['given in pieces', (): CarSource => repo.chunks({ chunkBytes: 10_000 }), 1024 * 1024],
])(
  'the index of a CAR %s takes at most 48 bytes a block, and all of it is given back',
  async (_way, source, partlyFilledSlab) => {
    const budget = countingBudget()
    const car = await loadCar(source(), { budget, memoryLimitBytes: 2 ** 40 })
    if (car.kind === 'disk') throw new Error('the limit was not to be reached')
    for (let chunk = await car.driver.nextChunk(1_000); chunk; chunk = await car.driver.nextChunk(1_000));
    expect((budget.peak - repo.carBytes - partlyFilledSlab) / repo.blockCount).toBeLessThan(48)
    await car.driver.close()
    expect(budget.held).toBe(0)
  },
)
