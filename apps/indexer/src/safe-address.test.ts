import { describe, expect, it } from 'vitest'
import { isLoopbackName, isPublicAddress, publicLookup, refusePrivateName } from './safe-address.ts'

describe('isPublicAddress', () => {
  it.each([
    '127.0.0.1',
    '127.9.9.9',
    '0.0.0.0',
    '10.1.2.3',
    '172.16.0.1',
    '192.168.1.1',
    '169.254.169.254', // the metadata service of clouds
    '100.64.0.1',
    '192.0.2.1',
    '198.18.0.1',
    '224.0.0.1',
    '240.0.0.1',
    '255.255.255.255',
    '::',
    '::1',
    'fe80::1',
    'fc00::1',
    'fec0::1',
    'ff02::1',
    '::ffff:127.0.0.1',
    '::ffff:10.0.0.1',
    '64:ff9b::7f00:1',
    '64:ff9b::a00:1',
    '2002:7f00:1::',
    '2001:db8::1',
    '100::1',
    '::7f00:1', // 127.0.0.1 in a form of long ago
    '4000::1',
    'fe80::1%eth0',
    'no address',
  ])('refuses %s', (address) => expect(isPublicAddress(address)).toBe(false))

  it.each(['1.1.1.1', '93.184.215.14', '2606:4700::1111', '::ffff:1.1.1.1', '64:ff9b::101:101'])(
    'allows %s',
    (address) => expect(isPublicAddress(address)).toBe(true),
  )
})

describe('refusePrivateName', () => {
  it.each(['localhost', 'LOCALHOST.', 'a.localhost', '127.0.0.1', '[::1]', '[::ffff:10.0.0.1]', '10.0.0.1'])(
    'refuses %s without asking DNS',
    (name) => expect(() => refusePrivateName(name)).toThrow(expect.objectContaining({ code: 'AddressRefused' })),
  )

  it('lets names through: their addresses are checked when they are known', () => {
    expect(() => refusePrivateName('pds.example')).not.toThrow()
    expect(() => refusePrivateName('localhost.example')).not.toThrow()
  })
})

describe('publicLookup', () => {
  const answer = (...addresses: string[]) =>
    publicLookup((_name, _options, callback) =>
      callback(
        null,
        addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
      ),
    )

  it('leaves private addresses out of a mixed answer', () =>
    new Promise<void>((resolve) => {
      answer('10.0.0.1', '1.1.1.1', '::1')('mixed.example', { all: true }, (error, found) => {
        expect(error).toBeNull()
        expect(found).toEqual([{ address: '1.1.1.1', family: 4 }])
        resolve()
      })
    }))

  it('fails when only private addresses are left, and names them', () =>
    new Promise<void>((resolve) => {
      answer('10.0.0.1', 'fe80::1')('inner.example', {}, (error) => {
        expect(error).toMatchObject({ code: 'AddressRefused', details: { address: '10.0.0.1 fe80::1' } })
        resolve()
      })
    }))
})

it('knows names of this machine, which no proxy can reach for us', () => {
  expect(['localhost', '127.0.0.1', '[::1]'].map(isLoopbackName)).toEqual([true, true, true])
  expect(['pds.example', '10.0.0.1'].map(isLoopbackName)).toEqual([false, false])
})
