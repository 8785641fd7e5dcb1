// From a DID to its PDS and signing key, by PLC directories or did:web. In: a DID. Out: an Identity from a bounded cache or
// the network; two callers who want the same DID share one request. That a DID does not exist is remembered too, briefly.
import { hearAbort, ignoreAbort } from './abort-listeners.ts'
import { type Identity, isDid, readDidDocument } from './did-document.ts'
import { documentType, requestWebDocument } from './did-document-request.ts'
import { IndexerError } from './errors.ts'
import type { Http } from './http.ts'
import { PlcDirectories, unaskedUntilMs } from './plc-directories.ts'

export interface ResolverOptions {
  http: Http
  /** Asked in this order; a later one only when an earlier one fails. */
  plcUrls: readonly string[]
  limits?: Partial<ResolverLimits>
  /** A local copy of the directory, asked first; a refresh passes it by. */
  local?: { lookUp(did: string): Promise<Identity | undefined> } | undefined
  /** Tells of every answer of a directory or did:web host, for metrics. */
  onAnswer?: (outcome: 'found' | 'missing' | 'failed') => void
}

export const defaultResolverLimits = {
  /** Identities kept; about 400 bytes each. */
  cacheSize: 20_000,
  /** How long a cached identity is believed; #identity events and bad signatures refresh it at once. */
  cacheTtlMs: 3600_000,
  /** How long a DID that does not exist, or has an unusable document, is not asked for again. */
  negativeTtlMs: 300_000,
  /** Requests for one DID before it fails with `PlcUnavailable`. */
  maxAttempts: 4,
  /** Wait before the second attempt; doubled for each further one, and spread by half. */
  backOffMs: 500,
  /** The longest wait inside one resolve; directories that all want more make it fail with `retryAtMs`, unasked. */
  maxWaitMs: 10_000,
  /** Until a directory or did:web host begins to answer: documents are small, so a slow one is down. */
  headersTimeoutMs: 15_000,
  /** For all of a did:web document, redirects included. Its host is anybody's choice, and so is how slow it is. */
  webTimeoutMs: 15_000,
  /** From a bare domain to its www, and once more. */
  maxWebRedirects: 2,
  /** Bytes of one document: the directory's have 1 to 4 KiB. */
  maxDocumentBytes: 256 * 1024,
}

export type ResolverLimits = { readonly [name in keyof typeof defaultResolverLimits]: number }

export interface ResolveOptions {
  /** Asks the network even if the cache knows: after a bad signature, once. */
  refresh?: boolean
  signal?: AbortSignal | undefined
}

export interface Resolver {
  /**
   * Throws `DidInvalid`, `DidNotFound`, `DidTombstoned`, `DidDocumentInvalid`, `PlcUnavailable`, or for did:web whatever
   * asking its host throws.
   */
  resolve(did: string, options?: ResolveOptions): Promise<Identity>
  /** Drops what the cache knows of a DID: an #identity event said that it changed. */
  forget(did: string): void
  /** Before this, which may be over, asking for did:plc has no use: all directories want to be left alone, and there is no local copy. */
  readonly pausedUntilMs: number
}

export function createResolver(options: ResolverOptions): Resolver {
  const limits: ResolverLimits = { ...defaultResolverLimits, ...options.limits }
  const cache = new IdentityCache(limits)
  const flights = new Map<string, Promise<Identity>>()
  const { http, onAnswer, local } = options
  const plc = new PlcDirectories(options.plcUrls, http, limits)

  const { headersTimeoutMs, maxDocumentBytes: maxBytes } = limits
  const { webTimeoutMs: timeoutMs, maxWebRedirects: maxRedirects } = limits
  const webOptions = { accept: documentType, headersTimeoutMs, maxBytes, maxRedirects, timeoutMs }

  async function ask(did: string, refresh: boolean): Promise<Identity> {
    const copied = refresh || local === undefined ? undefined : await local.lookUp(did)
    if (copied) {
      cache.set(did, copied)
      return copied
    }
    try {
      const document = did.startsWith('did:web:')
        ? await requestWebDocument(http, { url: didWebUrl(did, http.allowPrivateHosts), did }, webOptions)
        : await plc.ask(did, isLasting)
      const identity = readDidDocument(did, document, { allowHttp: http.allowPrivateHosts })
      cache.set(did, identity)
      onAnswer?.('found')
      return identity
    } catch (error) {
      const lasting = error instanceof IndexerError && isLasting(error)
      if (lasting) cache.set(did, error)
      if (unaskedUntilMs(error) === undefined) onAnswer?.(lasting ? 'missing' : 'failed')
      throw error
    }
  }

  async function resolve(did: string, { refresh = false, signal }: ResolveOptions = {}): Promise<Identity> {
    if (!isDid(did) || !/^did:(plc|web):/.test(did)) throw notADid(did)
    const known = refresh ? undefined : cache.get(did)
    if (known instanceof IndexerError) throw known
    if (known) return known
    const flightKey = refresh ? `refresh ${did}` : did // a refresh must not be served by the copy that it doubts
    let flight = flights.get(flightKey)
    if (!flight) {
      flight = ask(did, refresh)
      flights.set(flightKey, flight)
      const landed = () => void flights.delete(flightKey)
      flight.then(landed, landed) // every waiter may have been aborted
    }
    return await unlessAborted(flight, signal)
  }

  return {
    resolve,
    forget: (did) => cache.delete(did),
    get pausedUntilMs() {
      return local === undefined ? plc.pausedUntilMs : 0
    },
  }
}

/** Errors that asking again in a minute would not change. */
const lastingCodes = new Set(['DidNotFound', 'DidTombstoned', 'DidDocumentInvalid', 'DidInvalid', 'AddressRefused'])

const isLasting = ({ code }: IndexerError): boolean => lastingCodes.has(code)

/** https://atproto.com/specs/did: did:web without a path; a port only on localhost, where http is used. */
function didWebUrl(did: string, allowPrivateHosts: boolean): string {
  const [hostname = '', port] = did.slice('did:web:'.length).split('%3A')
  const local = allowPrivateHosts && /^(localhost|127\.0\.0\.1)$/.test(hostname)
  const name = /^[a-zA-Z0-9.-]+$/.test(hostname) && (hostname.includes('.') || local)
  if (!name || (port !== undefined && !(local && /^\d{1,5}$/.test(port)))) throw notADid(did)
  return local ? `http://${hostname}:${port ?? 80}/.well-known/did.json` : `https://${hostname}/.well-known/did.json`
}

function notADid(did: string): IndexerError {
  return new IndexerError('DidInvalid', `${did.slice(0, 200)} is no did:plc or did:web`, {
    details: { did: did.slice(0, 200) },
  })
}

/** Ends with the promise, or with the signal's reason. */
function unlessAborted<Value>(promise: Promise<Value>, signal: AbortSignal | undefined): Promise<Value> {
  if (!signal) return promise
  if (signal.aborted) return Promise.reject(signal.reason)
  return new Promise((resolve, reject) => {
    const leave = () => ignoreAbort(signal, reject)
    hearAbort(signal, reject)
    promise.then(leave, leave)
    promise.then(resolve, reject)
  })
}

/** Least recently used goes first: a Map keeps the order of insertion, and a hit is inserted again. */
class IdentityCache {
  private readonly entries = new Map<string, { value: Identity | IndexerError; untilMs: number }>()
  private readonly limits: ResolverLimits

  constructor(limits: ResolverLimits) {
    this.limits = limits
  }

  get(did: string): Identity | IndexerError | undefined {
    const entry = this.entries.get(did)
    if (!entry) return undefined
    this.entries.delete(did)
    if (entry.untilMs < Date.now()) return undefined
    this.entries.set(did, entry)
    return entry.value
  }

  set(did: string, value: Identity | IndexerError): void {
    this.entries.delete(did)
    const ttlMs = value instanceof IndexerError ? this.limits.negativeTtlMs : this.limits.cacheTtlMs
    this.entries.set(did, { value, untilMs: Date.now() + ttlMs })
    if (this.entries.size > this.limits.cacheSize) this.dropOldest()
  }

  /** A sixteenth at once: each look for the first of a Map walks over all that were deleted before it. */
  private dropOldest(): void {
    const { cacheSize } = this.limits
    const kept = cacheSize - Math.floor(cacheSize / 16)
    for (const did of this.entries.keys()) {
      this.entries.delete(did)
      if (this.entries.size <= kept) return
    }
  }

  delete(did: string): void {
    this.entries.delete(did)
  }
}
