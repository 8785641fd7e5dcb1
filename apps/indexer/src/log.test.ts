import { expect, test } from 'vitest'
import { renderEvent } from './log.ts'

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
