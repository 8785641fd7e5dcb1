// Parses an atproto datetime from bytes into the int64 that Postgres stores: microseconds since 2000-01-01T00:00:00Z.
// Nothing else is let in: Postgres itself would take 'now', 'infinity' and times without a zone.

export const datetimeOutcome = { exact: 0, rounded: 1, malformed: 2, outOfRange: 3 } as const

/**
 * Writes 8 big-endian bytes at `target[at]` and returns a `datetimeOutcome`; only `exact` and `rounded` write.
 * The syntax is RFC 3339 as the atproto datetime specification narrows it: upper-case T and Z, a zone, no -00:00.
 * `rounded`: digits after the microsecond were cut. `outOfRange`: a year before 1 or after 9999.
 */
export function writeDatetime(source: Uint8Array, start: number, end: number, target: Uint8Array, at: number): number {
  const { exact, rounded, malformed, outOfRange } = datetimeOutcome
  if (end - start < 20) return malformed
  const year = digits(source, start, 4)
  const month = digits(source, start + 5, 2)
  const day = digits(source, start + 8, 2)
  const hour = digits(source, start + 11, 2)
  const minute = digits(source, start + 14, 2)
  const second = digits(source, start + 17, 2)
  if ((year | month | day | hour | minute | second) < 0) return malformed
  if (source[start + 4] !== dash || source[start + 7] !== dash || source[start + 10] !== letterT) return malformed
  if (source[start + 13] !== colon || source[start + 16] !== colon) return malformed
  if (month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month)) return malformed
  if (hour > 23 || minute > 59 || second > 59) return malformed

  let position = start + 19
  let micros = 0
  let outcome: number = exact
  if (source[position] === point) {
    const first = ++position
    let scale = 100_000
    for (; position < end; position++) {
      const digit = (source[position] ?? 0) - digit0
      if (digit < 0 || digit > 9) break
      if (scale >= 1) micros += digit * scale
      else if (digit > 0) outcome = rounded
      scale = scale === 1 ? 0 : scale / 10
    }
    if (position === first || position - first > maxFractionDigits) return malformed
  }

  const offsetMinutes = readZone(source, position, end)
  if (offsetMinutes === badZone) return malformed
  const seconds = daysFrom2000(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offsetMinutes * 60
  if (seconds < firstSecond || seconds > lastSecond) return outOfRange
  writeMicros(target, at, seconds, micros)
  return outcome
}

const dash = 0x2d
const plus = 0x2b
const point = 0x2e
const colon = 0x3a
const letterT = 0x54
const letterZ = 0x5a
const digit0 = 0x30
const maxFractionDigits = 20
const badZone = 1e9

function digits(source: Uint8Array, start: number, count: number): number {
  let value = 0
  for (let i = 0; i < count; i++) {
    const digit = (source[start + i] ?? 0) - digit0
    if (digit < 0 || digit > 9) return -1
    value = value * 10 + digit
  }
  return value
}

function readZone(source: Uint8Array, position: number, end: number): number {
  const sign = source[position]
  if (sign === letterZ) return position + 1 === end ? 0 : badZone
  if ((sign !== plus && sign !== dash) || position + 6 !== end || source[position + 3] !== colon) return badZone
  const hours = digits(source, position + 1, 2)
  const minutes = digits(source, position + 4, 2)
  if ((hours | minutes) < 0 || hours > 23 || minutes > 59) return badZone
  const offset = hours * 60 + minutes
  if (sign === plus) return offset
  return offset === 0 ? badZone : -offset
}

function daysInMonth(year: number, month: number): number {
  if (month === 2) return (year % 4 === 0 && year % 100 !== 0) || year % 400 === 0 ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}

/** Days of the proleptic Gregorian calendar, counted in years that begin in March so that the leap day comes last. */
function daysFrom2000(year: number, month: number, day: number): number {
  const marchYear = month > 2 ? year : year - 1
  const marchMonth = month > 2 ? month - 3 : month + 9
  const leapDays = Math.floor(marchYear / 4) - Math.floor(marchYear / 100) + Math.floor(marchYear / 400)
  return marchYear * 365 + leapDays + Math.floor((153 * marchMonth + 2) / 5) + day - 1 - days0000To2000
}

const days0000To2000 = 730_425
const firstSecond = daysFrom2000(1, 1, 1) * 86_400
const lastSecond = daysFrom2000(10_000, 1, 1) * 86_400 - 1

/** seconds * 1,000,000 + micros passes 2^53, so it is put together from two halves: 1,000,000 = 15,625 * 64. */
function writeMicros(target: Uint8Array, at: number, seconds: number, micros: number): void {
  const scaled = seconds * 15_625
  let high = Math.floor(scaled / 0x400_0000)
  let low = (scaled - high * 0x400_0000) * 64 + micros
  if (low >= 0x1_0000_0000) {
    low -= 0x1_0000_0000
    high += 1
  }
  target[at] = high >> 24
  target[at + 1] = high >> 16
  target[at + 2] = high >> 8
  target[at + 3] = high
  target[at + 4] = low >>> 24
  target[at + 5] = low >>> 16
  target[at + 6] = low >>> 8
  target[at + 7] = low
}
