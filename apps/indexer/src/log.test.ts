import { expect, test, vi } from 'vitest'
import { openLog, renderEvent } from './log.ts'
import { logQuota } from './log-quota.ts'

test('an event is one readable line with its fields', () => {
  expect(renderEvent({ level: 40, time: 0, msg: 'repo failed', did: 'did:plc:abc', attempts: 2 })).toBe(
    '00:00:00 warn  repo failed  did=did:plc:abc  attempts=2\n',
  )
})

test('a coded error shows its code, an unexpected one its stack', () => {
  expect(
    renderEvent({ level: 50, time: 0, msg: 'x', err: { code: 'DiskFull', message: 'no room', stack: 'at y' } }),
  ).toContain('error=DiskFull: no room')
  expect(renderEvent({ level: 50, time: 0, msg: 'x', err: { message: 'oops', stack: 'Error: oops at y' } })).toContain(
    'Error: oops at y',
  )
})

test('a host that fails a thousand times does not fill the log, and information is not left out', () => {
  const lines: string[] = []
  const spy = vi.spyOn(process.stderr, 'write').mockImplementation((text) => lines.push(String(text)) > 0)
  const log = openLog({ json: false, level: 'info' })
  for (let n = 0; n < 1000; n++) {
    log.warn({ host: 'https://a.test', code: 'HostError' }, 'repo: retry')
    log.warn({ err: Object.assign(new Error('no'), { code: 'HostError' }), source: 'relay' }, 'listing failed')
    if (n < 10) log.info({ code: 'HostError' }, 'told')
  }
  spy.mockRestore()
  const of = (message: string) => lines.filter((line) => line.includes(message)).length
  expect([of('repo: retry'), of('listing failed'), of('told')]).toEqual([
    logQuota.perHostAndCode,
    logQuota.perHostAndCode,
    10,
  ])
})
