import { expect, test } from 'vitest'
import { FrontLook } from './front-look.ts'

/** The times of looks from the front, of a walk that is asked every 100 ms. */
function looks(untilMs: number, finds: (nowMs: number) => boolean): number[] {
  const front = new FrontLook(0)
  const times: number[] = []
  for (let nowMs = 0; nowMs <= untilMs; nowMs += 100) {
    if (front.isDue(nowMs)) times.push(nowMs)
    front.found(finds(nowMs), nowMs)
  }
  return times
}

test('a walk that finds something begins at the front four times a minute', () => {
  expect(looks(60_000, () => true)).toEqual([15_100, 30_200, 45_300])
})

test('one that finds nothing looks after as long again as it has been idle, and at most four times a minute', () => {
  const times = looks(100_000, () => false)
  for (const [index, atMs] of times.entries()) {
    const pauseMs = atMs - (times[index - 1] ?? 0)
    expect(pauseMs).toBeGreaterThan(500)
    expect(pauseMs).toBeLessThanOrEqual(Math.min(15_100, Math.max(600, atMs / 2 + 100)))
  }
  expect(times.length).toBeLessThan(14)
})

test('it looks at once when there is nothing to do, and what is found ends the haste', () => {
  expect(looks(60_000, (nowMs) => nowMs !== 20_000)).toEqual([15_100, 20_100, 35_200, 50_300])
  expect(looks(12_000, (nowMs) => nowMs < 10_000)[0]).toBe(10_100)
})
