// Reads one line of a PLC directory's export: which DID, and where it points from then on. In: a line of JSON. Out: its
// time, and a PlcOperation unless it was nullified; nothing for what is no operation. Three kinds are met: `plc_operation`,
// the old `create`, and `plc_tombstone`, after which nothing is known. https://web.plc.directory/spec/v0.1/did-plc
import { isDid, isKeyMultibase, readHandle, readOrigin } from './did-document.ts'

export interface PlcOperation {
  did: string
  createdAt: Date
  /** Origin of the PDS; absent for a tombstone and for what cannot be used. */
  host: string | undefined
  signingKey: string | undefined
  handle: string | undefined
}

export interface PlcEntry {
  createdAt: Date
  /** Absent if the entry was nullified: a later one has taken its place. */
  operation: PlcOperation | undefined
}

export function readPlcEntry(line: string, options: { allowHttp: boolean }): PlcEntry | undefined {
  const entry = parse(line)
  if (!entry || !isDid(entry.did) || typeof entry.createdAt !== 'string' || !isObject(entry.operation)) return undefined
  const createdAt = new Date(entry.createdAt)
  if (Number.isNaN(createdAt.getTime()) || !/^\d{4}-/.test(entry.createdAt)) return undefined // Postgres has fewer years
  if (entry.nullified === true) return { createdAt, operation: undefined }
  const points = readTarget(entry.operation, options.allowHttp)
  return { createdAt, operation: { did: entry.did, createdAt, ...points } }
}

function readTarget(
  operation: Record<string, unknown>,
  allowHttp: boolean,
): Pick<PlcOperation, 'host' | 'signingKey' | 'handle'> {
  if (operation.type === 'plc_tombstone') return { host: undefined, signingKey: undefined, handle: undefined }
  if (operation.type === 'create') {
    const { service, signingKey, handle } = operation
    return {
      host: readOrigin(service, allowHttp),
      signingKey: readKey(signingKey),
      handle: readHandle([`at://${handle}`]),
    }
  }
  const { services, verificationMethods, alsoKnownAs } = operation
  const pds = isObject(services) && isObject(services.atproto_pds) ? services.atproto_pds : undefined
  const keys = isObject(verificationMethods) ? verificationMethods : undefined
  return {
    host: readOrigin(pds?.endpoint, allowHttp),
    signingKey: readKey(keys?.atproto),
    handle: readHandle(alsoKnownAs),
  }
}

const didKey = 'did:key:'

function readKey(value: unknown): string | undefined {
  if (typeof value !== 'string' || !value.startsWith(didKey)) return undefined
  return isKeyMultibase(value.slice(didKey.length)) ? value : undefined
}

function parse(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
