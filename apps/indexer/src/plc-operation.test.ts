import { describe, expect, it } from 'vitest'
import { readPlcEntry } from './plc-operation.ts'

const did = 'did:plc:ewvi7nxzyoun6zhxrhs64oiz'
const key = 'did:key:zQ3shunBKsXixLxKtC5qeSG9E4J5RkGN57im31pcTzbNQnm5w'
const current = {
  type: 'plc_operation',
  services: { atproto_pds: { type: 'AtprotoPersonalDataServer', endpoint: 'https://pds.example/' } },
  alsoKnownAs: ['at://alice.example'],
  verificationMethods: { atproto: key },
}
const createdAt = '2024-01-02T03:04:05.678Z'
const read = (entry: unknown) => readPlcEntry(JSON.stringify(entry), { allowHttp: false })

describe('readPlcEntry', () => {
  it('reads a present-day operation', () => {
    expect(read({ did, createdAt, operation: current, nullified: false, cid: 'bafy' })?.operation).toEqual({
      did,
      createdAt: new Date(createdAt),
      host: 'https://pds.example',
      signingKey: key,
      handle: 'alice.example',
    })
  })

  it('reads the old create operation', () => {
    const operation = { type: 'create', signingKey: key, handle: 'Bob.example', service: 'https://old.example' }
    expect(read({ did, createdAt, operation })?.operation).toMatchObject({
      host: 'https://old.example',
      signingKey: key,
      handle: 'bob.example',
    })
  })

  it('reads a tombstone as an identity that points nowhere', () => {
    expect(read({ did, createdAt, operation: { type: 'plc_tombstone' } })?.operation).toEqual({
      did,
      createdAt: new Date(createdAt),
      host: undefined,
      signingKey: undefined,
      handle: undefined,
    })
  })

  it('takes only the time of what was nullified', () => {
    expect(read({ did, createdAt, operation: current, nullified: true })).toEqual({
      createdAt: new Date(createdAt),
      operation: undefined,
    })
  })

  it('leaves out what cannot be used: http, odd keys, odd handles', () => {
    const operation = {
      ...current,
      services: { atproto_pds: { endpoint: 'http://pds.example' } },
      verificationMethods: { atproto: 'did:key:x' },
      alsoKnownAs: 'alice',
    }
    expect(read({ did, createdAt, operation })?.operation).toMatchObject({
      host: undefined,
      signingKey: undefined,
      handle: undefined,
    })
    expect(read({ did, createdAt, operation: { type: 'plc_operation' } })?.operation?.host).toBeUndefined()
  })

  it.each([
    '',
    '{',
    'null',
    '[]',
    JSON.stringify({ did: 'no did', createdAt, operation: current }),
    JSON.stringify({ did, createdAt: 'yesterday', operation: current }),
    JSON.stringify({ did, operation: current }),
    JSON.stringify({ did, createdAt }),
  ])('takes %j for no operation', (line) => {
    expect(readPlcEntry(line, { allowHttp: false })).toBeUndefined()
  })
})
