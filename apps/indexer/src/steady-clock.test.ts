import { expect, test, vi } from 'vitest'
import { asLimits, fromLimits } from './hosts-memory.ts'
import { steadyNow } from './steady-clock.ts'

test('a pause is written down in time of the machine, and is as long for whoever reads it there', () => {
  const { now } = Date
  const hourMs = 3_600_000
  using clock = vi.spyOn(Date, 'now').mockImplementation(() => now() - 2 * hourMs) // since the process began
  const notBeforeMs = steadyNow() + hourMs
  const limits = asLimits({ limit: undefined, windowMs: 0, notBeforeMs })
  expect(Math.abs(Date.parse(limits.notBefore ?? '') - (now() - hourMs))).toBeLessThan(2_000)
  expect(fromLimits(limits).notBeforeMs).toBe(notBeforeMs)
  clock.mockRestore()
  expect((fromLimits(limits).notBeforeMs ?? 0) - notBeforeMs).toBe(-2 * hourMs) // another process, there since the clock was put back
})
