// Reads a DID document: where its repo lives, the key that signs it, its handle. In: parsed JSON. Out: an Identity.
// Two dialects are met: the directory's (full ids, `Multikey`) and the legacy one (relative ids, 2019 key types whose
// multibase is the bare curve point, often uncompressed). Both end as did:key.
import { base58btc } from 'multiformats/bases/base58'
import { IndexerError } from './errors.ts'

export interface Identity {
  did: string
  /** The origin of the PDS. */
  host: string
  /** The repo's signing key as did:key. */
  signingKey: string
  /** As the document claims it; nobody has asked the handle's domain. */
  handle: string | undefined
}

/** https://atproto.com/specs/did-plc, https://atproto.com/specs/did#at-protocol-did-identifier-syntax */
export function isDid(value: unknown): value is string {
  return typeof value === 'string' && value.length <= 2048 && /^did:[a-z]+:[a-zA-Z0-9._:%-]*[a-zA-Z0-9._-]$/.test(value)
}

/** Throws `DidDocumentInvalid` with `details.missing` when the document does not serve a repo. */
export function readDidDocument(did: string, document: unknown, options: { allowHttp?: boolean } = {}): Identity {
  if (!isObject(document) || document.id !== did) throw invalid(did, 'id', 'the document is not that of the DID')
  const key = findById(document.verificationMethod, did, '#atproto')
  const signingKey = key && readKey(key)
  if (!signingKey) throw invalid(did, 'signingKey', 'no usable key with the id #atproto')
  const service = findById(document.service, did, '#atproto_pds')
  const host = service && service.type === 'AtprotoPersonalDataServer' ? service.serviceEndpoint : undefined
  const origin = readOrigin(host, options.allowHttp ?? false)
  if (!origin) throw invalid(did, 'host', 'no usable service with the id #atproto_pds')
  return { did, host: origin, signingKey, handle: readHandle(document.alsoKnownAs) }
}

/** Lists in a document are searched this far. */
const maxListLength = 100

function findById(list: unknown, did: string, fragment: string): Record<string, unknown> | undefined {
  if (!Array.isArray(list)) return undefined
  const whole = did + fragment
  return list.slice(0, maxListLength).find((item) => isObject(item) && (item.id === fragment || item.id === whole))
}

/** Of an http(s) URL; a name with a dot behind it is the same host. */
export function readOrigin(value: unknown, allowHttp: boolean): string | undefined {
  if (typeof value !== 'string' || value.length > 512) return undefined
  const origin = knownOrigins.get(value) ?? parseOrigin(value)
  return allowHttp || origin?.startsWith('https:') ? origin : undefined
}

/** By the URL they were read from: a few hosts have most repos, so most URLs need not be parsed. */
const knownOrigins = new Map<string, string>()
const maxKnownOrigins = 1000

function parseOrigin(value: string): string | undefined {
  const url = URL.parse(value)
  if (url?.protocol !== 'https:' && url?.protocol !== 'http:') return undefined
  if (url.hostname.endsWith('.')) url.hostname = url.hostname.slice(0, -1)
  const isUsable = url.hostname !== '' && !url.hostname.endsWith('.') && url.username === '' && url.password === ''
  if (!isUsable) return undefined
  if (knownOrigins.size >= maxKnownOrigins) knownOrigins.clear()
  knownOrigins.set(value, url.origin)
  return url.origin
}

function readKey({ type, publicKeyMultibase: text }: Record<string, unknown>): string | undefined {
  if (typeof text !== 'string' || !isKeyMultibase(text)) return undefined
  if (type === 'Multikey') return `did:key:${text}`
  const codec = typeof type === 'string' ? legacyKeyCodecs.get(type) : undefined
  const compressed = codec && compressPoint(base58btc.decode(text))
  if (!compressed) return undefined
  return `did:key:${base58btc.encode(Uint8Array.from([...codec, ...compressed]))}`
}

/** Base58 with its prefix, of what may be a key's length. */
export function isKeyMultibase(text: string): boolean {
  return /^z[1-9A-HJ-NP-Za-km-z]{1,200}$/.test(text)
}

/** The multicodec prefix that a legacy key's type stands for (varints of secp256k1-pub and p256-pub). */
const legacyKeyCodecs = new Map([
  ['EcdsaSecp256k1VerificationKey2019', [0xe7, 0x01]],
  ['EcdsaSecp256r1VerificationKey2019', [0x80, 0x24]],
])

/** SEC 1, 2.3.3: a compressed point is x behind 02 or 03, by the parity of y. */
function compressPoint(point: Uint8Array): Uint8Array | undefined {
  if (point.length === 33 && (point[0] === 2 || point[0] === 3)) return point
  const last = point[64]
  if (point.length !== 65 || point[0] !== 4 || last === undefined) return undefined
  return Uint8Array.from([2 + (last & 1), ...point.subarray(1, 33)])
}

/** A domain name of at most 253 characters (https://atproto.com/specs/handle). */
const handlePattern = /^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$/

export function isHandle(text: string): boolean {
  return text.length <= 253 && handlePattern.test(text)
}

export function readHandle(names: unknown): string | undefined {
  if (!Array.isArray(names)) return undefined
  for (const name of names.slice(0, maxListLength)) {
    if (typeof name !== 'string' || !name.startsWith('at://')) continue
    const handle = name.slice('at://'.length).toLowerCase()
    return isHandle(handle) ? handle : undefined
  }
  return undefined
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function invalid(did: string, missing: 'id' | 'signingKey' | 'host', message: string): IndexerError {
  return new IndexerError('DidDocumentInvalid', `${did}: ${message}`, { details: { did, missing } })
}
