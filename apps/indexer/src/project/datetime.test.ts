import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { datetimeOutcome, writeDatetime } from './datetime.ts'

const samples = join(import.meta.dirname, '..', '..', '..', '..', '..', 'shared', 'samples', 'interop', 'syntax')
const hasSamples = existsSync(samples)
if (!hasSamples) console.log('the interop samples are missing: their datetimes are not tried')

function parse(text: string): { outcome: number; micros: bigint } {
  const bytes = new TextEncoder().encode(text)
  const target = Buffer.alloc(8)
  const outcome = writeDatetime({ bytes, view: new DataView(bytes.buffer) }, 0, bytes.length, target, 0)
  return { outcome, micros: target.readBigInt64BE() }
}

/** Lines with text; a blank may be part of the syntax that is tried. */
function lines(name: string): string[] {
  const all = readFileSync(join(samples, name), 'utf8').split('\n')
  return all.filter((line) => line !== '' && !line.startsWith('#'))
}

test.runIf(hasSamples)('every valid datetime of the interop samples is a time, but for the year 0', () => {
  for (const text of lines('datetime_syntax_valid.txt')) {
    const { outcome, micros } = parse(text)
    if (text.startsWith('0000-')) {
      expect(outcome, text).toBe(datetimeOutcome.outOfRange)
    } else {
      expect([datetimeOutcome.exact, datetimeOutcome.rounded], text).toContain(outcome)
      expect(Math.floor(Number(micros) / 1000), text).toBe(Date.parse(text) - Date.UTC(2000, 0, 1))
    }
  }
})

test.runIf(hasSamples)('every invalid datetime of the interop samples is refused', () => {
  const invalid = [...lines('datetime_syntax_invalid.txt'), ...lines('datetime_parse_invalid.txt')]
  for (const text of invalid) {
    expect([datetimeOutcome.malformed, datetimeOutcome.outOfRange], text).toContain(parse(text).outcome)
  }
})

test('days are counted as Postgres counts them, from the first to the last', () => {
  for (const text of [
    '0001-01-01',
    '0004-02-29',
    '1582-10-10',
    '1900-02-28',
    '1999-12-31',
    '2000-02-29',
    '2100-03-01',
    '9999-12-31',
  ]) {
    const then = new Date(`${text}T12:34:56.789Z`)
    expect(parse(then.toISOString()).micros).toBe(BigInt(then.getTime() - Date.UTC(2000, 0, 1)) * 1000n)
  }
  for (let day = Date.UTC(1999, 11, 1); day < Date.UTC(2005, 0, 1); day += 86_400_000) {
    expect(parse(new Date(day).toISOString()).micros).toBe(BigInt(day - Date.UTC(2000, 0, 1)) * 1000n)
  }
})

test('digits after the microsecond are cut, and that is said when they were not zero', () => {
  expect(parse('2000-01-01T00:00:00.1234567Z')).toEqual({ outcome: datetimeOutcome.rounded, micros: 123_456n })
  expect(parse('2000-01-01T00:00:00.123456000Z')).toEqual({ outcome: datetimeOutcome.exact, micros: 123_456n })
  expect(parse('1999-12-31T23:59:59.9999999Z')).toEqual({ outcome: datetimeOutcome.rounded, micros: -1n })
})

test('what Postgres would take and change is refused', () => {
  for (const text of [
    'now',
    'infinity',
    '2024-02-30T00:00:00Z',
    '2024-01-01T00:00:60Z',
    '2024-01-01T24:00:00Z',
    '2024-01-01',
  ]) {
    expect(parse(text.padEnd(20)).outcome, text).toBe(datetimeOutcome.malformed)
  }
})

test('any one character in place of another gives the time that Date reads, or is refused', () => {
  const good = '2024-02-13T14:25:36.789Z'
  const { exact, malformed } = datetimeOutcome
  for (let place = 0; place < good.length; place++) {
    for (let code = 0; code < 256; code++) {
      const text = good.slice(0, place) + String.fromCharCode(code) + good.slice(place + 1)
      const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$/.test(text) ? Date.parse(text) : Number.NaN
      const isTime = !Number.isNaN(ms) && new Date(ms).toISOString() === text
      const { outcome, micros } = parse(text)
      expect(outcome, text).toBe(isTime ? exact : malformed)
      if (isTime) expect(micros, text).toBe(BigInt(ms - Date.UTC(2000)) * 1000n)
    }
  }
})
