// From a handle to its DID, as its domain says (https://atproto.com/specs/handle): a TXT record of _atproto.HANDLE, else
// https://HANDLE/.well-known/atproto-did. In: a handle. Out: a DID. Strangers choose handles, so the request goes the guarded way.
import { Resolver } from 'node:dns/promises'
import { isDid } from './did-document.ts'
import { errorClass, IndexerError } from './errors.ts'
import type { Http } from './http.ts'
import { readRateLimit } from './rate-limit.ts'

export interface HandleOptions {
  /** In place of those of /etc/resolv.conf, `address:port`. */
  dnsServers?: readonly string[]
  dnsTimeoutMs?: number
  /** In place of the address that the specification names. */
  wellKnownUrl?: (handle: string) => string
}

export type ResolveHandle = (handle: string, signal?: AbortSignal) => Promise<string>

/** A DID and some white space. */
const maxBodyBytes = 4096

/** The returned function throws `HandleNotFound`, or the retryable error of a domain that could not be asked. */
export function createHandleResolver(http: Http, options: HandleOptions = {}): ResolveHandle {
  const { dnsServers, dnsTimeoutMs = 2000 } = options
  const { wellKnownUrl = (handle) => `https://${handle}/.well-known/atproto-did` } = options
  const dns = new Resolver({ timeout: dnsTimeoutMs, tries: 2 })
  if (dnsServers) dns.setServers(dnsServers)
  return async (handle, signal) => {
    let failure: NodeJS.ErrnoException | undefined
    const records = await dns.resolveTxt(`_atproto.${handle}`).catch((error: NodeJS.ErrnoException) => {
      failure = error
      return [] // no record, or no DNS: the domain is asked
    })
    const hasNone = isAbsent(failure?.code)
    const named = records.map((parts) => parts.join('')).filter((text) => text.startsWith('did='))
    const did =
      named.length === 1
        ? named[0]?.slice('did='.length)
        : await askDomain(wellKnownUrl(handle), http, signal).catch((error: unknown) => {
            // DNS answers, and knows no such domain: that is no outage.
            if (hasNone && error instanceof IndexerError && isAbsent(error.details.reason)) return undefined
            throw error
          })
    if (isDid(did)) return did
    if (failure && !hasNone && !isBeyondDns(failure.code)) {
      const message = `the DNS record of ${handle} could not be asked for: ${failure.code}`
      throw new IndexerError('DnsFailed', message, { cause: failure, details: { handle } })
    }
    throw new IndexerError('HandleNotFound', `the domain of ${handle} names no DID`, { details: { handle } })
  }
}

const isAbsent = (code: unknown): boolean => code === 'ENOTFOUND' || code === 'ENODATA'

/** The machine has no DNS server to ask (see safe-lookup.ts), or the name with `_atproto.` before it is too long for one. */
const isBeyondDns = (code: unknown): boolean => code === 'ECONNREFUSED' || code === 'EBADNAME'

async function askDomain(url: string, http: Http, signal: AbortSignal | undefined): Promise<string | undefined> {
  try {
    const answer = await http.get(url, { accept: 'text/plain', maxBytes: maxBodyBytes, signal })
    if (answer.status >= 500 || answer.status === 429) {
      answer.discard()
      const { retryAfterMs, resetMs } = readRateLimit(answer.headers, Date.now())
      const waitMs = retryAfterMs ?? (answer.status === 429 ? resetMs : undefined)
      const details = { url, ...(waitMs === undefined ? {} : { retryAtMs: Date.now() + waitMs }) }
      const code = answer.status === 429 ? 'RateLimited' : 'HostError'
      throw new IndexerError(code, `${url} answered with ${answer.status}`, { details })
    }
    const chunks: Uint8Array[] = []
    for await (const chunk of answer.body) chunks.push(chunk)
    return answer.status === 200 ? Buffer.concat(chunks).toString('utf8').trim() : undefined
  } catch (error) {
    if (signal?.aborted || errorClass(error) === 'retry' || errorClass(error) === undefined) throw error
    return undefined
  }
}
