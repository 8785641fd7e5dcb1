import { expect, test } from 'vitest'
import { LogQuota, logQuota } from './log-quota.ts'

const { perHostAndCode, perCode, windowMs, maxKinds } = logQuota
const failed = { message: 'repo: retry', host: 'https://a.test', code: 'HostError' }

function writtenOf(quota: LogQuota, times: number, kind: (index: number) => Parameters<LogQuota['ask']>[0]): number {
  return Array.from({ length: times }, (_, index) => quota.ask(kind(index))).filter((told) => told !== undefined).length
}

test('a host that fails again and again with one code is told of a few times a minute, and then how often', () => {
  let nowMs = 0
  const quota = new LogQuota(() => nowMs)
  expect(writtenOf(quota, 1000, () => failed)).toBe(perHostAndCode)
  expect(quota.ask({ ...failed, host: 'https://b.test' })).toBe(0)
  expect(quota.ask({ ...failed, code: 'TlsFailed' })).toBe(0)
  nowMs += windowMs
  expect(quota.ask(failed)).toBe(1000 - perHostAndCode)
  expect(quota.ask(failed)).toBe(0)
})

test('one code on many hosts is bounded too, in lines and in memory', () => {
  const quota = new LogQuota(() => 0)
  expect(writtenOf(quota, 3 * maxKinds, (index) => ({ ...failed, host: `https://${index}.test` }))).toBe(perCode)
})
