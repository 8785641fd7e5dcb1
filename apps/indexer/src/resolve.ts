// From a DID to its PDS and signing key, by PLC directories or did:web. In: a DID. Out: an Identity from a bounded cache or
// the network; two callers who want the same DID share one request. That a DID does not exist is remembered too, briefly.
// A directory that says 429 is left alone until it said, and the next one of the list is asked.
import { setTimeout as sleep } from 'node:timers/promises'
import { hearAbort, ignoreAbort } from './abort-listeners.ts'
import { type Identity, isDid, readDidDocument } from './did-document.ts'
import { IndexerError } from './errors.ts'
import { type Http, type HttpAnswer, headerText } from './http.ts'
import { readText } from './http-text.ts'
import { readRateLimit } from './rate-limit.ts'

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
  /** The longest wait inside one resolve; a directory that wants more makes it fail with `retryAtMs`. */
  maxWaitMs: 10_000,
  /** Until a directory or did:web host begins to answer: documents are small, so a slow one is down. */
  headersTimeoutMs: 15_000,
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
}

export function createResolver(options: ResolverOptions): Resolver {
  const limits: ResolverLimits = { ...defaultResolverLimits, ...options.limits }
  const cache = new IdentityCache(limits)
  const flights = new Map<string, Promise<Identity>>()
  const plc = options.plcUrls.map((url) => ({ url: url.replace(/\/+$/, ''), pausedUntilMs: 0 }))
  const { http, onAnswer, local } = options

  async function ask(did: string, refresh: boolean): Promise<Identity> {
    const copied = refresh || local === undefined ? undefined : await local.lookUp(did)
    if (copied) {
      cache.set(did, copied)
      return copied
    }
    try {
      const document = did.startsWith('did:web:')
        ? await askOnce(didWebUrl(did, http.allowPrivateHosts), did, http, limits)
        : await askDirectories(did, plc, http, limits)
      const identity = readDidDocument(did, document, { allowHttp: http.allowPrivateHosts })
      cache.set(did, identity)
      onAnswer?.('found')
      return identity
    } catch (error) {
      const lasting = error instanceof IndexerError && lastingCodes.has(error.code)
      if (lasting) cache.set(did, error)
      onAnswer?.(lasting ? 'missing' : 'failed')
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

  return { resolve, forget: (did) => cache.delete(did) }
}

/** Errors that asking again in a minute would not change. */
const lastingCodes = new Set(['DidNotFound', 'DidTombstoned', 'DidDocumentInvalid', 'DidInvalid', 'AddressRefused'])

interface Directory {
  readonly url: string
  pausedUntilMs: number
}

async function askDirectories(did: string, plc: Directory[], http: Http, limits: ResolverLimits): Promise<unknown> {
  let lastError: unknown
  for (let attempt = 0; attempt < limits.maxAttempts; attempt++) {
    const next = nextDirectory(plc, attempt, limits)
    if (next === undefined) break
    const { directory, waitMs } = next
    if (waitMs > 0) await sleep(waitMs)
    try {
      return await askOnce(`${directory.url}/${did}`, did, http, limits)
    } catch (error) {
      if (!(error instanceof IndexerError) || lastingCodes.has(error.code)) throw error
      lastError = error
      const retryAtMs = error.details.retryAtMs
      if (typeof retryAtMs === 'number') directory.pausedUntilMs = retryAtMs
    }
  }
  const retryAtMs = Math.min(...plc.map(({ pausedUntilMs }) => pausedUntilMs))
  throw new IndexerError('PlcUnavailable', `no PLC directory answered for ${did}`, {
    cause: lastError,
    details: { did, plcUrls: plc.map(({ url }) => url), ...(retryAtMs > Date.now() ? { retryAtMs } : {}) },
  })
}

/** In turn, those that are not paused; the wait is for the back-off, or for a pause that ends soon. */
function nextDirectory(
  plc: readonly Directory[],
  attempt: number,
  limits: ResolverLimits,
): { directory: Directory; waitMs: number } | undefined {
  const round = Math.floor(attempt / Math.max(plc.length, 1)) // the first round over all directories does not wait
  const backOffMs = round === 0 ? 0 : limits.backOffMs * 2 ** (round - 1) * (0.75 + Math.random() / 2)
  const untilMs = Date.now() + Math.min(backOffMs, limits.maxWaitMs)
  let best: Directory | undefined
  for (let index = 0; index < plc.length; index++) {
    const directory = plc[(attempt + index) % plc.length]
    if (!directory || (best && Math.max(best.pausedUntilMs, untilMs) <= Math.max(directory.pausedUntilMs, untilMs))) {
      continue
    }
    best = directory
  }
  const waitMs = best ? Math.max(best.pausedUntilMs, untilMs) - Date.now() : 0
  return best && waitMs <= limits.maxWaitMs ? { directory: best, waitMs } : undefined
}

async function askOnce(url: string, did: string, http: Http, limits: ResolverLimits): Promise<unknown> {
  const answer = await http.get(url, {
    accept: 'application/json',
    maxBytes: limits.maxDocumentBytes,
    headersTimeoutMs: limits.headersTimeoutMs,
  })
  if (answer.status === 200) return parseDocument(await readText(answer), did, answer)
  answer.discard()
  const details = { did, url: answer.url.href, status: answer.status }
  if (answer.status === 404)
    throw new IndexerError('DidNotFound', `${answer.url.host} does not know ${did}`, { details })
  if (answer.status === 410) throw new IndexerError('DidTombstoned', `${did} was deleted`, { details })
  const message = `${answer.url.host} answered ${did} with ${answer.status}`
  if (answer.status !== 429) throw new IndexerError('HostError', message, { details })
  const { retryAfterMs, resetMs } = readRateLimit(answer.headers, Date.now())
  const retryAtMs = Date.now() + (retryAfterMs ?? resetMs ?? 1000)
  throw new IndexerError('RateLimited', message, { details: { ...details, retryAtMs } })
}

function parseDocument(text: string, did: string, answer: HttpAnswer): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    const contentType = headerText(answer.headers['content-type'])
    const details = { did, url: answer.url.href, contentType }
    throw new IndexerError('BadResponse', `${answer.url.host} answered ${did} with no JSON`, { cause, details })
  }
}

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
