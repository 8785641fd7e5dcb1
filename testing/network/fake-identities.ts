// What a PLC directory can say about one DID, one entry for each fault: the right DID document in, the answer out.
import type { Reply } from 'indexer/demo/server.ts'
import { json, xrpcError } from 'indexer/demo/server.ts'
import { makeSigningKey } from 'repo-stream/fixtures'
import { html } from './fake-repos.ts'

export type IdentityFault = keyof typeof identityFaults

export interface DidDocument {
  readonly id: string
  readonly alsoKnownAs: readonly string[]
  readonly verificationMethod: readonly VerificationMethod[]
  readonly service: readonly Service[]
}

interface VerificationMethod {
  readonly id: string
  readonly type: string
  readonly controller: string
  readonly publicKeyMultibase: string
}

interface Service {
  readonly id: string
  readonly type: string
  readonly serviceEndpoint: string
}

export function breakIdentity(fault: IdentityFault, document: DidDocument): Reply {
  return identityFaults[fault](document)
}

const identityFaults = {
  'not registered': ({ id }) => json(404, { message: `DID not registered: ${id}` }),
  tombstone: ({ id }) => json(410, { message: `DID not available: ${id}` }),
  fails: () => json(500, { message: 'The fake always fails' }),
  'rate limit': () => json(429, { message: 'Slow down' }, { 'retry-after': '1' }),
  html: () => html(200),
  "another DID's document": (document) => json(200, { ...document, id: `${document.id.slice(0, -1)}2` }),
  'no PDS': (document) => json(200, { ...document, service: [] }),
  'no key': (document) => json(200, { ...document, verificationMethod: [] }),
  'unusable key': (document) => json(200, withKey(document, 'z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK')),
  /** The key before a rotation: right again when the directory is asked once more, with the fault switched to `times: 1`. */
  'old key': (document) => json(200, withKey(document, makeSigningKey('old key').did.slice('did:key:'.length))),
  'PDS without a name': (document) => json(200, withPds(document, 'https://no-such-host.invalid')),
  'PDS speaks no TLS': (document) =>
    json(200, withPds(document, document.service[0]?.serviceEndpoint.replace('http:', 'https:') ?? '')),
  'PDS is no URL': (document) => json(200, withPds(document, 'pds.example.com:')),
  /** Relative ids, as older directories write. */
  'relative ids': (document) =>
    json(200, {
      ...document,
      verificationMethod: document.verificationMethod.map((method) => ({ ...method, id: '#atproto' })),
    }),
  'no handle': (document) => json(200, { ...document, alsoKnownAs: [] }),
  'refuses us': () => xrpcError(403, 'Forbidden', 'The fake serves nobody'),
} as const satisfies Record<string, (document: DidDocument) => Reply>

function withKey(document: DidDocument, publicKeyMultibase: string): DidDocument {
  return {
    ...document,
    verificationMethod: document.verificationMethod.map((method) => ({ ...method, publicKeyMultibase })),
  }
}

export function withPds(document: DidDocument, serviceEndpoint: string): DidDocument {
  return { ...document, service: document.service.map((service) => ({ ...service, serviceEndpoint })) }
}
