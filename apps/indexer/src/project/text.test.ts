import { expect, test } from 'vitest'
import { resolveConfig } from '../config-resolve.ts'
import { createTestProjection } from './testing-settle.ts'
import { readFields } from './testing-slow-way.ts'

const collection = 'com.example.one'
const config = await resolveConfig({
  collections: { [collection]: { columns: { s: 'text', ss: 'text[]', j: 'jsonb', u: 'at-uri' } } },
})
const projection = createTestProjection(config)
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

/** What the rows have of a value, given as CBOR, in a column. */
function read(column: string, value: Uint8Array): unknown {
  const head = (text: string) => Buffer.concat([Buffer.of(0x60 | text.length), Buffer.from(text)])
  const block = Buffer.concat([Buffer.of(0xa2), head(column), value, head('$type'), head(collection)])
  const { table, fields, reject } = projection.settleAs(collection, Uint8Array.from(block))
  if (table === undefined || fields === undefined) throw new Error(reject)
  return readFields(table, fields)[table.columns.findIndex(({ name }) => name === column)]
}

function asText(bytes: Uint8Array): Buffer {
  const { length } = bytes
  const head = length < 24 ? [0x60 | length] : length < 256 ? [0x78, length] : [0x79, length >> 8, length & 255]
  return Buffer.from([...head, ...bytes])
}

/** Sequences of up to four bytes with each lead, and every byte after it at which something changes. */
function* sequences(): Generator<number[]> {
  const after = [0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xf0, 0xff]
  for (let lead = 0x7f; lead <= 0xff; lead++) {
    yield [lead]
    for (const second of after) {
      yield [lead, second]
      if (lead < 0xe0) continue
      for (const third of [0x41, 0x7f, 0x80, 0xbf, 0xc0]) {
        yield [lead, second, third]
        if (lead >= 0xf0) for (const fourth of [0x41, 0x80, 0xbf, 0xc0]) yield [lead, second, third, fourth]
      }
    }
  }
}

test('what is not UTF-8 is repaired as TextDecoder repairs it, wherever in a word it stands', () => {
  for (let shift = 0; shift < 4; shift++) {
    const bytes = Buffer.from(
      [...'abc'.slice(0, shift)]
        .map((letter) => letter.charCodeAt(0))
        .concat(...sequences().map((one) => [...one, 0x62, 0x63, 0x64, 0x65])),
    )
    for (let from = 0; from < bytes.length; from += 60_000) {
      const part = bytes.subarray(from, from + 60_000)
      const text = decoder.decode(part).replaceAll('\0', '\ufffd')
      expect(read('s', asText(part)) === text).toBe(true)
      expect(read('u', asText(part)) === text).toBe(true)
      expect(JSON.parse(String(read('j', asText(part)))) === text).toBe(true)
    }
  }
})

test('a sequence ends where its text does, whatever bytes come after it', () => {
  for (const one of sequences()) {
    const text = decoder.decode(Uint8Array.from(one)).replaceAll('\0', '\ufffd')
    // Two empty lists, which look like more of the sequence.
    const value = Uint8Array.of(0x83, 0x60 | one.length, ...one, 0x80, 0x80)
    expect(JSON.parse(String(read('j', value)))).toEqual([text, [], []])
    expect(read('ss', value)).toEqual([text, null, null])
  }
})

test('every ASCII character is kept as text and as JSON, wherever in a word it stands', () => {
  for (let code = 1; code < 128; code++) {
    for (let place = 0; place < 9; place++) {
      const text = 'x'.repeat(place) + String.fromCharCode(code) + 'y'.repeat(8 - place)
      const value = Buffer.from([0x60 | text.length, ...Buffer.from(text)])
      expect(read('s', value)).toBe(text)
      expect(read('u', value)).toBe(text)
      expect(read('j', value)).toBe(JSON.stringify(text))
    }
  }
})

test('an at-uri with a character that a short form has a meaning for is kept whole, wherever it stands', () => {
  const uri = 'at://did:plc:bv6ggog3tya2z3vxsub7hnal/app.bsky.feed.post/3jzfcijpj2z2a'
  for (let code = 1; code < 0x90; code++) {
    const letter = String.fromCharCode(code)
    for (let place = 0; place <= uri.length; place++) {
      const longer = uri.slice(0, place) + letter + uri.slice(place)
      const changed = uri.slice(0, place) + letter + uri.slice(place + 1)
      expect(read('u', asText(Buffer.from(longer)))).toBe(longer)
      expect(read('u', asText(Buffer.from(changed)))).toBe(changed)
    }
  }
})
