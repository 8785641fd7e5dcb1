// The demo's PLC directory: DID documents in the real directory's form, and its paged `/export` as JSON lines.
import type { DemoAccount } from './population.ts'
import { type Handler, json, type Reply } from './server.ts'
import type { DemoWorld } from './world.ts'

const exportPageLimit = 1000

export function createPlc(world: DemoWorld): Handler {
  return ({ method, params }) => {
    if (method === '/export') return exportPage(world, params)
    const did = method.slice(1)
    const account = world.population.byDid(did)
    if (!did.startsWith('did:plc:')) return json(400, { message: `Invalid DID: ${did}` })
    if (!account) return json(404, { message: `DID not registered: ${did}` })
    return json(200, didDocument(account, world), { 'content-type': 'application/did+ld+json; charset=utf-8' })
  }
}

function didDocument(account: DemoAccount, world: DemoWorld): unknown {
  const { did, handle } = account
  return {
    '@context': [
      'https://www.w3.org/ns/did/v1',
      'https://w3id.org/security/multikey/v1',
      'https://w3id.org/security/suites/secp256k1-2019/v1',
    ],
    id: did,
    alsoKnownAs: [`at://${handle}`],
    verificationMethod: [
      {
        id: `${did}#atproto`,
        type: 'Multikey',
        controller: did,
        publicKeyMultibase: world.repos.signingKey(account).did.slice('did:key:'.length),
      },
    ],
    service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: world.pdsUrl(account) }],
  }
}

/** `after` is the `createdAt` of the last operation that the caller has; the page begins behind it. */
function exportPage(world: DemoWorld, params: URLSearchParams): Reply {
  const count = Math.min(Math.max(1, Number(params.get('count') ?? exportPageLimit) || 1), exportPageLimit)
  const after = Date.parse(params.get('after') ?? '') || 0
  const page = world.population.accounts.filter(({ createdMs }) => createdMs > after).slice(0, count)
  const lines = page.map((account) => JSON.stringify(operation(account, world)))
  return { status: 200, headers: { 'content-type': 'application/jsonlines' }, body: lines.join('\n') }
}

function operation(account: DemoAccount, world: DemoWorld): unknown {
  const key = world.repos.signingKey(account).did
  return {
    did: account.did,
    operation: {
      type: 'plc_operation',
      prev: null,
      sig: '',
      rotationKeys: [key],
      verificationMethods: { atproto: key },
      alsoKnownAs: [`at://${account.handle}`],
      services: { atproto_pds: { type: 'AtprotoPersonalDataServer', endpoint: world.pdsUrl(account) } },
    },
    cid: world.placeholderCid,
    nullified: false,
    createdAt: new Date(account.createdMs).toISOString(),
  }
}
