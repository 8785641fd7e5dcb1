import { expect, test } from 'vitest'
import { MemoryBudget } from './memory-budget.ts'

test('a budget refuses what would pass its limit and reserves nothing then', () => {
  const budget = new MemoryBudget(100)
  expect(budget.take(60)).toBe(true)
  expect(budget.take(41)).toBe(false)
  expect(budget.take(40)).toBe(true)
  budget.give(100)
  expect(budget.heldBytes).toBe(0)
  expect(budget.peakBytes).toBe(100)
})

test('giving back more than was taken is a bug and throws', () => {
  const budget = new MemoryBudget(100)
  budget.take(10)
  expect(() => budget.give(11)).toThrow('more memory was given back than taken')
})
