import { createECDH } from 'node:crypto'
import { base58btc } from 'multiformats/bases/base58'
import { describe, expect, it } from 'vitest'
import { isDid, readDidDocument } from './did-document.ts'

const did = 'did:plc:ewvi7nxzyoun6zhxrhs64oiz'

/** As plc.directory answers. */
const current = {
  '@context': ['https://www.w3.org/ns/did/v1', 'https://w3id.org/security/multikey/v1'],
  id: did,
  alsoKnownAs: ['at://atproto.com'],
  verificationMethod: [
    {
      id: `${did}#atproto`,
      type: 'Multikey',
      controller: did,
      publicKeyMultibase: 'zQ3shunBKsXixLxKtC5qeSG9E4J5RkGN57im31pcTzbNQnm5w',
    },
  ],
  service: [
    {
      id: '#atproto_pds',
      type: 'AtprotoPersonalDataServer',
      serviceEndpoint: 'https://enoki.us-east.host.bsky.network',
    },
  ],
}

describe('readDidDocument', () => {
  it('reads the current form', () => {
    expect(readDidDocument(did, current)).toEqual({
      did,
      host: 'https://enoki.us-east.host.bsky.network',
      signingKey: 'did:key:zQ3shunBKsXixLxKtC5qeSG9E4J5RkGN57im31pcTzbNQnm5w',
      handle: 'atproto.com',
    })
  })

  it.each([
    ['secp256k1', 'EcdsaSecp256k1VerificationKey2019', [0xe7, 0x01]],
    ['prime256v1', 'EcdsaSecp256r1VerificationKey2019', [0x80, 0x24]],
  ])('reads a legacy %s key, compressed or not, as the same did:key', (curve, type, codec) => {
    for (let round = 0; round < 8; round++) {
      const pair = createECDH(curve)
      pair.generateKeys()
      const compressed = pair.getPublicKey(null, 'compressed')
      const expected = `did:key:${base58btc.encode(Uint8Array.from([...codec, ...compressed]))}`
      for (const point of [compressed, pair.getPublicKey(null, 'uncompressed')]) {
        const key = { id: '#atproto', type, controller: did, publicKeyMultibase: base58btc.encode(point) }
        const service = [{ ...current.service[0], id: `${did}#atproto_pds` }]
        expect(readDidDocument(did, { ...current, verificationMethod: [key], service }).signingKey).toBe(expected)
      }
    }
  })

  it.each([
    ['another DID', { id: 'did:plc:aaaaaaaaaaaaaaaaaaaaaaaa' }, 'id'],
    ['no keys', { verificationMethod: undefined }, 'signingKey'],
    [
      'a key of another use',
      { verificationMethod: [{ ...current.verificationMethod[0], id: '#labeler' }] },
      'signingKey',
    ],
    [
      'a key of an unknown type',
      { verificationMethod: [{ ...current.verificationMethod[0], type: 'Ed25519' }] },
      'signingKey',
    ],
    [
      'a key that is no multibase',
      { verificationMethod: [{ ...current.verificationMethod[0], publicKeyMultibase: 'fff' }] },
      'signingKey',
    ],
    [
      'a key with a NUL',
      { verificationMethod: [{ ...current.verificationMethod[0], publicKeyMultibase: 'zQ3sh\0' }] },
      'signingKey',
    ],
    [
      'a legacy key that is no point',
      {
        verificationMethod: [
          { id: '#atproto', type: 'EcdsaSecp256k1VerificationKey2019', publicKeyMultibase: 'zABC0Il' },
        ],
      },
      'signingKey',
    ],
    ['no services', { service: [] }, 'host'],
    ['a service of another type', { service: [{ ...current.service[0], type: 'AtprotoLabeler' }] }, 'host'],
    [
      'an endpoint without TLS',
      { service: [{ ...current.service[0], serviceEndpoint: 'http://pds.example' }] },
      'host',
    ],
    ['an endpoint that is no URL', { service: [{ ...current.service[0], serviceEndpoint: 'pds' }] }, 'host'],
    [
      'an endpoint with a password',
      { service: [{ ...current.service[0], serviceEndpoint: 'https://a:b@pds.example' }] },
      'host',
    ],
    ['an endpoint that is an object', { service: [{ ...current.service[0], serviceEndpoint: {} }] }, 'host'],
  ])('refuses %s', (_what, change, missing) => {
    expect(() => readDidDocument(did, { ...current, ...change })).toThrow(
      expect.objectContaining({ code: 'DidDocumentInvalid', details: expect.objectContaining({ missing }) }),
    )
  })

  it('keeps only the origin of an endpoint, and http only where that is allowed', () => {
    const document = (serviceEndpoint: string) => ({
      ...current,
      service: [{ ...current.service[0], serviceEndpoint }],
    })
    expect(readDidDocument(did, document('https://PDS.example:443/path?x#y')).host).toBe('https://pds.example')
    expect(readDidDocument(did, document('https://pds.example.')).host).toBe('https://pds.example')
    expect(() => readDidDocument(did, document('https://pds.example..'))).toThrow(/usable service/)
    expect(readDidDocument(did, document('http://127.0.0.1:2583'), { allowHttp: true }).host).toBe(
      'http://127.0.0.1:2583',
    )
    expect(() => readDidDocument(did, document('http://127.0.0.1:2583'))).toThrow(/usable service/)
  })

  it.each([
    [['at://Alice.Example'], 'alice.example'],
    [['https://alice.example', 'at://bob.example'], 'bob.example'],
    [['at://not a handle'], undefined],
    [[], undefined],
    ['at://alice.example', undefined],
  ])('reads the handle of %j', (alsoKnownAs, handle) => {
    expect(readDidDocument(did, { ...current, alsoKnownAs }).handle).toBe(handle)
  })
})

it('isDid takes DIDs and nothing else', () => {
  for (const good of [did, 'did:web:a.example', 'did:web:localhost%3A3000', 'did:method:a:b'])
    expect(isDid(good)).toBe(true)
  const bad = [
    '',
    'did',
    'did:plc:',
    'did:PLC:abc',
    'did:plc:abc/',
    'did:plc:abc ',
    'at://x',
    `did:plc:${'a'.repeat(3000)}`,
    7,
    null,
  ]
  for (const one of bad) expect(isDid(one)).toBe(false)
})
