import { expect, test } from 'vitest'
import { CursorWatch } from './cursor-watch.ts'

test('a cursor that is handed out for ever is noticed on its second page', () => {
  const watch = new CursorWatch()
  expect(watch.repeats('a')).toBe(false)
  expect(watch.repeats('a')).toBe(true)
})

test('a cycle after a long straight listing is noticed within three times its length', () => {
  const watch = new CursorWatch()
  for (let page = 0; page < 1000; page++) expect(watch.repeats(`straight ${page}`)).toBe(false)
  const cycle = 700
  let pages = 0
  while (!watch.repeats(`cycle ${pages % cycle}`)) expect(++pages).toBeLessThan(3 * cycle)
})

test('a listing of many pages that never repeats is left alone', () => {
  const watch = new CursorWatch()
  for (let page = 0; page < 50_000; page++) expect(watch.repeats(String(page))).toBe(false)
})
