// The one way to the network: GET with pooled connections, checked addresses, checked redirects and limits on everything.
// In: a URL. Out: status, headers and a streamed body; every failure is an IndexerError. Redirects are followed by hand,
// because each hop must be checked. Through HTTP(S)_PROXY the proxy resolves names: then only literal addresses and
// localhost can be refused here, and the proxy must keep private names out. Loopback never goes through a proxy.
import type { LookupFunction } from 'node:net'
import { Agent, buildConnector, type Dispatcher, EnvHttpProxyAgent } from 'undici'
import { IndexerError } from './errors.ts'
import { acceptedEncodings, type ByteStream, readBody } from './http-body.ts'
import { exchange, type RawAnswer, type RawBody } from './http-exchange.ts'
import { httpFailure } from './http-failure.ts'
import { defaultHttpLimits, type HttpLimits } from './http-limits.ts'
import type { HeaderMap } from './rate-limit.ts'
import { isLoopbackName, publicLookup, refusePrivateName } from './safe-address.ts'
import { createLookup } from './safe-lookup.ts'

export interface HttpOptions {
  /** Of the indexer, for the User-Agent. */
  version: string
  /** An address or URL under which a host's operator reaches us (`--contact`). */
  contact?: string | undefined
  /** Permits private addresses and plain http: for loopback networks, never for the real one. */
  allowPrivateHosts?: boolean
  limits?: Partial<HttpLimits>
  /** In place of the system's DNS. */
  lookup?: LookupFunction
  /** HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in either case; the process's by default (undici reads it). */
  proxy?: { httpProxy?: string; httpsProxy?: string; noProxy?: string }
}

export interface GetOptions {
  accept?: string
  signal?: AbortSignal | undefined
  /** Decoded bytes of the body; `limits.maxBodyBytes` by default. */
  maxBytes?: number | undefined
  /** From request to headers; `limits.headersTimeoutMs` by default. */
  headersTimeoutMs?: number | undefined
  /** A redirect to another origin is a `RedirectElsewhere`: nothing is sent there. */
  staysAtOrigin?: boolean | undefined
  /** `limits.maxRedirects` by default. */
  maxRedirects?: number | undefined
  /** Called once per hop, redirects included, as soon as its headers are here. */
  onResponse?: (hop: { url: URL; status: number; headers: HeaderMap }) => void
  /** Told of every decoded chunk of the body. */
  onBytes?: ((bytes: number) => void) | undefined
  /** Whoever reads the body looks at no chunk once it has asked for the next: the memory may be freed then. */
  freesChunks?: boolean | undefined
}

export interface HttpAnswer {
  status: number
  headers: HeaderMap
  /** The one that answered, after redirects. */
  url: URL
  /** Decoded. To be iterated (once; leaving early is fine) or discarded, else the connection is held. */
  body: ByteStream
  discard(): void
}

export interface Http extends AsyncDisposable {
  readonly allowPrivateHosts: boolean
  get(url: string | URL, options?: GetOptions): Promise<HttpAnswer>
  /** Breaks what is in flight and closes all sockets. */
  close(): Promise<void>
}

export function openHttp(options: HttpOptions): Http {
  const limits: HttpLimits = { ...defaultHttpLimits, ...options.limits }
  const allowPrivateHosts = options.allowPrivateHosts ?? false
  const { direct, outward } = createDispatchers(options, limits)
  const userAgent = `atproto-indexer/${options.version}${options.contact ? ` (+${options.contact})` : ''}`

  function request(url: URL, { accept, signal, headersTimeoutMs }: GetOptions): Promise<RawAnswer> {
    const dispatcher = outward === direct || isLoopbackName(url.hostname) ? direct : outward
    const dispatchOptions: Dispatcher.DispatchOptions = {
      origin: url.origin,
      path: url.pathname + url.search,
      method: 'GET',
      headersTimeout: headersTimeoutMs ?? limits.headersTimeoutMs,
      headers: { accept: accept ?? '*/*', 'accept-encoding': acceptedEncodings, 'user-agent': userAgent },
    }
    return exchange(dispatcher, dispatchOptions, signal)
  }

  async function get(target: string | URL, getOptions: GetOptions = {}): Promise<HttpAnswer> {
    const { signal, maxBytes = limits.maxBodyBytes, onResponse, onBytes, freesChunks } = getOptions
    const { maxRedirects = limits.maxRedirects } = getOptions
    let url = checkedUrl(target, allowPrivateHosts, 'HostInvalid')
    for (let hop = 0; ; hop++) {
      if (signal?.aborted) throw signal.reason
      const response = await request(url, getOptions).catch((error: unknown) => {
        throw signal?.aborted ? signal.reason : httpFailure(error, url.href, 'headers')
      })
      const { status, headers, body: raw } = response
      onResponse?.({ url, status, headers })
      const location = redirectOf(status, headers)
      if (location === undefined) {
        const encoding = headerText(headers['content-encoding'])
        const body = readBody(raw, { url: url.href, encoding, maxBytes, limits, signal, onBytes, freesChunks })
        return { status, headers, url, body, discard: () => raw.destroy() }
      }
      await passOver(raw)
      if (hop >= maxRedirects) throw tooManyRedirects(target, url)
      const next = checkedUrl(new URL(location, url), allowPrivateHosts, 'RedirectRefused')
      if (getOptions.staysAtOrigin && next.origin !== url.origin) throw redirectElsewhere(url, next)
      url = next
    }
  }

  const close = async () => {
    await Promise.all([direct.destroy(), outward.destroy()])
  }
  return { allowPrivateHosts, get, close, [Symbol.asyncDispose]: close }
}

/** `direct` checks the addresses that it connects to; `outward` is the same, or the proxy that the environment names. */
function createDispatchers(options: HttpOptions, limits: HttpLimits): { direct: Agent; outward: Dispatcher } {
  const named = options.lookup ?? createLookup()
  const lookup = options.allowPrivateHosts ? named : publicLookup(named)
  const timeout = limits.connectTimeoutMs
  const connect = buildConnector({ timeout, allowH2: false, port: 0, lookup })
  const agentOptions: Agent.Options = {
    connect,
    // One body that is read slowly must not hold up the others of its host, as it would on a shared HTTP/2 connection.
    allowH2: false,
    connections: limits.maxConnectionsPerHost,
    pipelining: 1,
    connectTimeout: timeout,
    headersTimeout: limits.headersTimeoutMs,
    bodyTimeout: limits.bodyIdleTimeoutMs,
    keepAliveTimeout: limits.keepAliveMs,
    keepAliveMaxTimeout: limits.keepAliveMaxMs,
    maxHeaderSize: limits.maxHeaderBytes,
  }
  const direct = new Agent(agentOptions)
  const outward = namesProxy(options.proxy) ? new EnvHttpProxyAgent({ ...agentOptions, ...options.proxy }) : direct
  return { direct, outward }
}

/** As undici reads it, whose agent for proxies costs each request 3 µs even when there is none. */
function namesProxy({ httpProxy, httpsProxy }: NonNullable<HttpOptions['proxy']> = {}): boolean {
  const { env } = process
  const forHttp = httpProxy ?? env.http_proxy ?? env.HTTP_PROXY
  const forHttps = httpsProxy ?? env.https_proxy ?? env.HTTPS_PROXY
  return Boolean(forHttp) || Boolean(forHttps)
}

function checkedUrl(target: string | URL, allowPrivate: boolean, code: 'HostInvalid' | 'RedirectRefused'): URL {
  const url = typeof target === 'string' ? URL.parse(target) : new URL(target)
  const secure = url?.protocol === 'https:' || (allowPrivate && url?.protocol === 'http:')
  if (!url || !secure || url.username !== '' || url.password !== '' || url.hostname === '') {
    const shown = String(target).slice(0, 500)
    throw new IndexerError(code, `${shown} is no https URL that may be asked`, { details: { url: shown } })
  }
  if (url.hash !== '') url.hash = ''
  if (!allowPrivate) refusePrivateName(url.hostname)
  return url
}

/** The body of a redirect is read a little, so that the connection can be used again; a long or slow one is cut off. */
async function passOver(raw: RawBody): Promise<void> {
  const timer = setTimeout(() => raw.destroy(), 200)
  try {
    for (let left = 16 * 1024; left > 0; ) {
      const chunk = await raw.next()
      if (chunk === undefined) return
      left -= chunk.length
    }
  } catch {
    return // broken or too slow: it is not needed
  } finally {
    clearTimeout(timer)
    raw.destroy()
  }
}

function redirectOf(status: number, headers: HeaderMap): string | undefined {
  if (![301, 302, 303, 307, 308].includes(status)) return undefined
  const location = headerText(headers.location)
  return location !== undefined && URL.canParse(location, 'https://base.invalid') ? location : undefined
}

function redirectElsewhere(from: URL, to: URL): IndexerError {
  const details = { url: from.href, to: to.origin }
  return new IndexerError('RedirectElsewhere', `${from.host} redirects to ${to.host}`, { details })
}

function tooManyRedirects(target: string | URL, last: URL): IndexerError {
  const details = { url: String(target), last: last.href }
  return new IndexerError('TooManyRedirects', `${new URL(target).host} redirects again and again`, { details })
}

export function headerText(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value
}
