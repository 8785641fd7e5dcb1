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
    '2016-12-31T23:59:60Z',
    '2024-01-01T23:60:00Z',
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

test('a zone is up to 23:59 from UTC, with nothing after it', () => {
  const { exact, malformed } = datetimeOutcome
  const day = 86_400_000_000n
  expect(parse('2000-01-02T00:00:00+23:59')).toEqual({ outcome: exact, micros: 60_000_000n })
  expect(parse('2000-01-02T00:00:00-23:59')).toEqual({ outcome: exact, micros: 2n * day - 60_000_000n })
  expect(parse('2000-01-02T00:00:00.5+00:00')).toEqual({ outcome: exact, micros: day + 500_000n })
  const refused =
    '-00:00 +24:00 -24:00 +23:60 +0100 +01 +1:00 +01-00 +01:0 +01:001 +01:00Z +0a:00 +01:0a +01:a0 z Z0 ZZ ±01:00'
  for (const zone of ['', ...refused.split(' ')])
    expect(parse(`2000-01-02T00:00:00.000${zone}`).outcome, zone).toBe(malformed)
})

test('a second has 1 to 20 digits behind its point', () => {
  const { exact, rounded, malformed } = datetimeOutcome
  for (let digits = 1; digits <= 22; digits++) {
    const micros = 10n ** BigInt(Math.max(0, 6 - digits))
    const text = `2000-01-01T00:00:00.${'1'.padStart(digits, '0')}Z`
    expect(parse(text), text).toEqual(
      digits > 20
        ? { outcome: malformed, micros: 0n }
        : { outcome: digits > 6 ? rounded : exact, micros: digits > 6 ? 0n : micros },
    )
  }
  for (const text of ['2000-01-01T00:00:00.Z', '2000-01-01T00:00:00.+00:00', '2000-01-01T00:00:00,5Z'])
    expect(parse(text).outcome, text).toBe(malformed)
})

test('times go from the first second of the year 1 to the last microsecond of 9999, whatever the zone', () => {
  const { exact, outOfRange, malformed } = datetimeOutcome
  const first = BigInt(Date.UTC(2001, 0, 1) - 2000 * 365.2425 * 86_400_000 - Date.UTC(2000, 0, 1)) * 1000n
  expect(parse('0001-01-01T00:00:00Z')).toEqual({ outcome: exact, micros: first })
  expect(parse('0000-12-31T23:59:00-00:01')).toEqual({ outcome: exact, micros: first })
  const last = BigInt(Date.UTC(10_000, 0, 1) - Date.UTC(2000, 0, 1)) * 1000n - 1n
  expect(parse('9999-12-31T23:59:59.999999Z')).toEqual({ outcome: exact, micros: last })
  for (const text of [
    '0000-12-31T23:59:59Z',
    '0000-02-29T00:00:00Z',
    '0001-01-01T00:00:00+00:01',
    '9999-12-31T23:59:59-00:01',
  ])
    expect(parse(text).outcome, text).toBe(outOfRange)
  for (const text of [
    '-000001-01-01T00:00:00Z',
    '+010000-01-01T00:00:00Z',
    '10000-01-01T00:00:00Z',
    '0000-02-30T00:00:00Z',
  ])
    expect(parse(text).outcome, text).toBe(malformed)
})

test('the 29th of February is a day of leap years alone, and no month has a day too many', () => {
  for (const year of [1900, 2000, 2023, 2024, 2100, 2400]) {
    for (let month = 0; month <= 13; month++) {
      for (const day of [0, 1, 28, 29, 30, 31, 32]) {
        const text = `${year}-${String(month).padStart(2, '0')}-${String(day).padStart(2, '0')}T23:59:59.000Z`
        const then = new Date(Date.UTC(year, month - 1, day, 23, 59, 59))
        const { outcome, micros } = parse(text)
        const isDay = then.toISOString() === text
        expect(outcome, text).toBe(isDay ? datetimeOutcome.exact : datetimeOutcome.malformed)
        if (isDay) expect(micros, text).toBe(BigInt(then.getTime() - Date.UTC(2000, 0, 1)) * 1000n)
      }
    }
  }
})

test('microseconds around each multiple of 2^32 are exact', () => {
  for (const high of [-200_000n, -1n, 0n, 1n, 2n, 177_000n]) {
    for (const low of [-65n, -64n, -1n, 0n, 1n, 63n, 64n]) {
      const micros = (high << 32n) + low
      const seconds = (micros - (((micros % 1_000_000n) + 1_000_000n) % 1_000_000n)) / 1_000_000n
      const text = new Date(Number(seconds) * 1000 + Date.UTC(2000, 0, 1)).toISOString().slice(0, 19)
      const fraction = String(micros - seconds * 1_000_000n).padStart(6, '0')
      expect(parse(`${text}.${fraction}Z`).micros, `${text}.${fraction}`).toBe(micros)
    }
  }
})
