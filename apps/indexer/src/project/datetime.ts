// Parses an atproto datetime from bytes into the int64 that Postgres stores: microseconds since 2000-01-01T00:00:00Z.
// Nothing else is let in: Postgres itself would take 'now', 'infinity' and times without a zone.
import type { Memory } from 'repo-stream'

export const datetimeOutcome = { exact: 0, rounded: 1, malformed: 2, outOfRange: 3 } as const

/**
 * Writes 8 big-endian bytes at `target[at]` and returns a `datetimeOutcome`; only `exact` and `rounded` write.
 * The syntax is RFC 3339 as the atproto datetime specification narrows it: upper-case T and Z, a zone, no -00:00.
 * `rounded`: digits after the microsecond were cut. `outOfRange`: a year before 1 or after 9999.
 */
export function writeDatetime(from: Memory, start: number, end: number, target: Uint8Array, at: number): number {
  const { exact, rounded, malformed, outOfRange } = datetimeOutcome
  if (end - start < 20) return malformed
  const { bytes: source, view } = from
  // Four characters at once, each digit as its number, each sign as 0: a third of the time of one by one.
  const yyyy = view.getInt32(start) ^ 0x30303030
  const dashMM = view.getInt32(start + 4) ^ 0x2d30302d
  const ddTh = view.getInt32(start + 8) ^ 0x30305430
  const hMm = view.getInt32(start + 12) ^ 0x303a3030
  const colonSs = (view.getInt32(start + 16) ^ 0x3a303000) & 0xffffff00
  const strange =
    yyyy |
    (yyyy + 0x76767676) |
    (dashMM | (dashMM + 0x7f76767f)) |
    (ddTh | (ddTh + 0x76767f76)) |
    (hMm | (hMm + 0x767f7676)) |
    (colonSs | (colonSs + 0x7f767600))
  if ((strange & 0x80808080) !== 0) return malformed
  const year = (yyyy >> 24) * 1000 + ((yyyy >> 16) & 15) * 100 + ((yyyy >> 8) & 15) * 10 + (yyyy & 15)
  const month = ((dashMM >> 16) & 15) * 10 + ((dashMM >> 8) & 15)
  const day = (ddTh >> 24) * 10 + ((ddTh >> 16) & 15)
  const hour = (ddTh & 15) * 10 + (hMm >> 24)
  const minute = ((hMm >> 8) & 15) * 10 + (hMm & 15)
  const second = ((colonSs >> 16) & 15) * 10 + ((colonSs >> 8) & 15)
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
      scale = Math.trunc(scale / 10)
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
