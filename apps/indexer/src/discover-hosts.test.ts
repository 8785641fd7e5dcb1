import { expect, test } from 'vitest'
import { originOf } from './discover-hosts.ts'

const host = (hostname: string, status = 'active') => ({ hostname, status, accountCount: undefined })

test.each([
  'pds.example.com:8443',
  '10.0.0.1',
  '127.0.0.1',
  '127.0.0.1:3000',
  '0x7f.1',
  '[::1]',
  '2130706433',
  'localhost',
  'localhost:2583',
  'metadata',
  'a.1',
  '-:-',
  '[::ffff:7f00:1]',
  'pds.example.com..',
  'localhost.',
])('a stranger cannot name %s as a host', (hostname) => {
  expect(originOf(host(hostname), false)).toBeUndefined()
})

test('a name is asked by https, and one that the relay has banned not at all', () => {
  expect(originOf(host('pds.example.com'), false)).toBe('https://pds.example.com')
  expect(originOf(host('pds.example.com', 'banned'), false)).toBeUndefined()
})

test('a host is one host, however it is spelled', () => {
  for (const hostname of ['PDS.example.com', 'pds.example.com.', 'pds.example.com:443'])
    expect(originOf(host(hostname), false)).toBe('https://pds.example.com')
})

test('in networks of our own loopback is asked by http, and ports are permitted', () => {
  expect(originOf(host('127.0.0.1:3000'), true)).toBe('http://127.0.0.1:3000')
  expect(originOf(host('localhost:3000'), true)).toBe('http://localhost:3000')
  expect(originOf(host('10.0.0.1:8443'), true)).toBe('https://10.0.0.1:8443')
})
