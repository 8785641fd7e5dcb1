import { cpus } from 'node:os'
import { expect, test } from 'vitest'
import { idleCoresMeter, type ThreadLook, ThreadNeed } from './thread-need.ts'

const busy: ThreadLook = { utilizations: [0.97], repos: 40, idleCores: 0.6 }

/** After how many looks, of ten at most, a thread is asked for. */
function looksUntil(need: ThreadNeed, look: ThreadLook): number | undefined {
  for (let looks = 1; looks <= 10; looks++) if (need.look(look)) return looks
  return undefined
}

test('another thread is asked for once those that run have been busy for a while, and no sooner for having been busy before', () => {
  const need = new ThreadNeed(8)
  expect(looksUntil(need, busy)).toBe(4)
  expect(looksUntil(need, busy)).toBe(4)
  expect(need.look(busy)).toBe(false)
  expect(need.look({ ...busy, utilizations: [0.1] })).toBe(false)
  expect(looksUntil(need, busy)).toBe(4)
})

test.each<[string, Partial<ThreadLook>]>([
  ['a thread waits for hosts', { utilizations: [0.97, 0.6] }],
  ['there are few repos to share', { repos: 3 }],
  ['the machine has no processor to spare', { idleCores: 0.1 }],
])('no other thread is asked for while %s', (_, change) => {
  expect(looksUntil(new ThreadNeed(8), { ...busy, ...change })).toBeUndefined()
})

test('no more threads than the limit are asked for', () => {
  expect(looksUntil(new ThreadNeed(2), { ...busy, utilizations: [1, 1] })).toBeUndefined()
  expect(looksUntil(new ThreadNeed(3), { ...busy, utilizations: [1, 1] })).toBe(4)
})

test('a processor that works is not idle', () => {
  const idleCores = idleCoresMeter()
  const untilMs = performance.now() + 300
  while (performance.now() < untilMs);
  expect(idleCores()).toBeLessThan(cpus().length - 0.1)
})
