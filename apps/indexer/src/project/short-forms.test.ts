import { base32 } from 'multiformats/bases/base32'
import { CID } from 'multiformats/cid'
import { encodeRecord } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import { resolveConfig } from '../config-resolve.ts'
import { jsonWords } from './short-forms.ts'
import { createTestProjection } from './testing-settle.ts'
import { cidForms, didForms, uriForms } from './testing-short-forms.ts'
import { readFields } from './testing-slow-way.ts'

const config = await resolveConfig({
  collections: { 'com.example.one': { columns: { uri_of: 'at-uri', did_of: 'did', cid_of: 'cid', json_of: 'jsonb' } } },
})
const projection = createTestProjection(config)

/** What the row holds of the value, and what the slow way reads from it. */
function store(column: 'uriOf' | 'didOf' | 'cidOf' | 'jsonOf', value: unknown): { stored: Buffer; whole: unknown } {
  const block = Uint8Array.from(encodeRecord({ $type: 'com.example.one', [column]: value }))
  const { table, fields } = projection.settleAs('com.example.one', block)
  if (table === undefined || fields === undefined) throw new Error('the record is no row')
  const index = ['uriOf', 'didOf', 'cidOf', 'jsonOf'].indexOf(column)
  return {
    stored: Buffer.from(fields).subarray(4 * (index + 1), fields.length - 4 * (3 - index)),
    whole: readFields(table, fields)[index],
  }
}

test.each(uriForms)('the at-uri %j is stored as %j', (value, stored) => {
  const row = store('uriOf', value)
  expect(row.stored.toString()).toBe(stored)
  expect(row.whole).toBe(value)
})

test.each(didForms)('the did %j is stored as %j', (value, stored) => {
  const row = store('didOf', value)
  expect(row.stored.toString()).toBe(stored)
  expect(row.whole).toBe(value)
})

test.each(cidForms)('the CID %s is stored as %s, from text and from a link', (text, stored) => {
  for (const value of [text, CID.parse(text)]) {
    const row = store('cidOf', value)
    expect(row.stored.toString('hex')).toBe(stored)
    expect(row.whole).toBe(Buffer.from(base32.decode(text)).toString('hex'))
  }
})

test('JSON is stored with one character for what posts repeat', () => {
  const image = {
    alt: '',
    image: { $type: 'blob', mimeType: 'image/jpeg', size: 1 },
    aspectRatio: { width: 1, height: 2 },
  }
  const value = { $type: 'app.bsky.embed.images', images: [image, image] }
  const row = store('jsonOf', value)
  expect(row.stored.length).toBeLessThan(JSON.stringify(value).length / 2)
  expect(JSON.parse(String(row.whole))).toEqual(value)
  for (const text of [
    '\u0001',
    '{"alt":"',
    ',"height":',
    '"},"size":',
    jsonWords.map((word) => word.stretch.text).join(''),
  ]) {
    for (const odd of [text, { [text]: text }, [text, { alt: text, image: text }]]) {
      expect(JSON.parse(String(store('jsonOf', odd).whole))).toEqual(odd)
    }
  }
})

test('a word is JSON without control characters, and only one character stands for it', () => {
  const texts = jsonWords.map((word) => word.stretch.text)
  expect(new Set(texts).size).toBe(texts.length)
  expect(new Set(jsonWords.map((word) => word.code)).size).toBe(texts.length)
  for (const [i, { code, stretch }] of jsonWords.entries()) {
    expect(code).toBeGreaterThan(0)
    expect(code).toBeLessThan(0x20)
    expect(stretch.text).toMatch(/^[{,]"[ -&(-[\]-~]{2,}$/)
    expect(texts.slice(i + 1).filter((later) => later.startsWith(stretch.text))).toEqual([])
  }
})
