import { entryOf } from 'repo-stream'
import { expect, test } from 'vitest'
import { loadConfig } from '../config.ts'
import { projectionLimits } from './limits.ts'
import { createTableFinder, isNsid, isUsableKey, matchesPattern } from './tables.ts'

const config = await loadConfig({ collections: ['app.bsky.feed.like'] })

test('a pattern is of what lies below its name, and of nothing that only begins like it', () => {
  expect(matchesPattern('app.foo.bar', 'app.foo.*')).toBe(true)
  expect(matchesPattern('app.foo.bar.baz', 'app.foo.*')).toBe(true)
  for (const other of ['app.foo', 'app.foobar', 'app.foobar.baz', 'app.fo.bar', 'net.app.foo.bar'])
    expect(matchesPattern(other, 'app.foo.*'), other).toBe(false)
  expect(matchesPattern('anything', '*')).toBe(true)
  expect(matchesPattern('app.foo.bar', 'app.foo.bar')).toBe(true)
  expect(matchesPattern('app.foo.bar.baz', 'app.foo.bar')).toBe(false)
})

test('an NSID has up to 317 characters, and two parts or more', () => {
  const longest = `com.${'x'.repeat(313)}`
  expect(isNsid(longest)).toBe(true)
  expect(isNsid(`${longest}x`)).toBe(false)
  for (const text of ['', 'com', 'com.', '.com', 'a..b', 'a.b ', 'a.b\n', 'a.ä', 'a_b.c', 'a/b.c'])
    expect(isNsid(text), text).toBe(false)
})

test('a key has printable characters without blanks, and with its collection up to 1,024 bytes', () => {
  const [table] = config.tables
  if (table === undefined) throw new Error('one collection is one table')
  const collection = 'app.bsky.feed.like'
  const isUsable = (rkey: string) =>
    isUsableKey(entryOf({ collection, rkey, cid: new Uint8Array(36), data: new Uint8Array(0) }), table)
  for (let code = 0; code < 256; code++)
    expect(isUsable(`a${String.fromCharCode(code)}`), String(code)).toBe(code > 0x20 && code < 0x7f)
  const longest = 'x'.repeat(projectionLimits.maxKeyBytes - collection.length)
  expect(isUsable(longest)).toBe(true)
  expect(isUsable(`${longest}x`)).toBe(false)
  expect(isUsable('')).toBe(false)
})

test('a collection of its own table goes there, whatever patterns say, and an unknown one to the generic table or nowhere', async () => {
  const find = createTableFinder(await loadConfig({ collections: ['app.bsky.feed.like', 'app.bsky.*'] }))
  for (let round = 0; round < 2; round++) {
    expect(find('app.bsky.feed.like')?.generic).toBe(false)
    expect(find('app.bsky.feed.other')?.generic).toBe(true)
    expect(find('app.bskyx.feed')).toBeUndefined()
    expect(find('')).toBeUndefined()
  }
})
