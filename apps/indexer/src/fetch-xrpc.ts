// Asks one XRPC method of a host and gives what it answers its code. In: host, method, parameters. Out: the answer of a
// 200 with the right content type; anything else is a coded IndexerError. Error bodies are read up to a small limit.
import { type ErrorCode, IndexerError } from './errors.ts'
import { type Http, type HttpAnswer, headerText } from './http.ts'
import { readText } from './http-text.ts'
import { type RateLimit, readRateLimit } from './rate-limit.ts'
import { steadyNow } from './steady-clock.ts'

export interface FetchContext {
  http: Http
  signal?: AbortSignal | undefined
  /** Called for every response, a redirect's too, as soon as its headers are here: for the scheduler. */
  onResponse?: ((seen: ResponseSeen) => void) | undefined
  /** Awaited before a request of kind `other` is sent: its host's pace. */
  turn?: ((origin: string) => Promise<void>) | undefined
  /** Decoded bytes of one body. */
  maxBytes?: number | undefined
  /** Told of every decoded chunk. */
  onBytes?: ((bytes: number) => void) | undefined
  /** Whoever reads a repo looks at no chunk once it has asked for the next: the memory may be freed then. */
  freesChunks?: boolean | undefined
}

export interface ResponseSeen {
  /** The origin that answered: not always the one that was asked. */
  origin: string
  /** Another one had led there: no turn was taken for it. */
  isRedirected: boolean
  /** A PDS keeps one bucket for getRepo and one for the rest. */
  kind: 'repo' | 'other'
  status: number
  rateLimit: RateLimit
  /** steadyNow() when the request was sent: the host cannot have counted what was sent later. */
  requestedAtMs: number
}

export interface XrpcRequest {
  /** An origin, `https://host`. */
  host: string
  method: string
  parameters: Record<string, string | number | undefined>
  accept: string
}

export async function askXrpc(request: XrpcRequest, context: FetchContext): Promise<HttpAnswer> {
  const { http, signal, onResponse, maxBytes, onBytes, freesChunks } = context
  const kind = request.method === 'com.atproto.sync.getRepo' ? 'repo' : 'other'
  if (kind === 'other') await context.turn?.(request.host)
  const requestedAtMs = steadyNow()
  let rateLimit: RateLimit = {}
  const answer = await http.get(xrpcUrl(request), {
    accept: request.accept,
    signal,
    maxBytes,
    onBytes,
    freesChunks: kind === 'repo' && freesChunks,
    // Hosts are strangers: one would have us ask another as fast as it allows itself to be asked.
    staysAtOrigin: kind === 'repo',
    onResponse: ({ url, status, headers }) => {
      rateLimit = readRateLimit(headers, Date.now())
      onResponse?.({
        origin: url.origin,
        isRedirected: url.origin !== request.host,
        kind,
        status,
        rateLimit,
        requestedAtMs,
      })
    },
  })
  if (answer.status !== 200) throw await refusal(request, answer, rateLimit)
  const type = contentType(answer)
  if (type !== undefined && !acceptable(type, request.accept)) {
    answer.discard()
    throw new IndexerError('BadResponse', `${answer.url.host} answered ${request.method} with ${type}`, {
      details: { url: answer.url.href, contentType: type },
    })
  }
  return answer
}

function xrpcUrl({ host, method, parameters }: XrpcRequest): string {
  const query = new URLSearchParams()
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) query.set(name, String(value))
  const text = query.toString()
  return `${host}/xrpc/${method}${text === '' ? '' : `?${text}`}`
}

function contentType(answer: HttpAnswer): string | undefined {
  const header = headerText(answer.headers['content-type'])
  return header === undefined ? undefined : (header.split(';')[0] ?? '').trim().toLowerCase()
}

function acceptable(type: string, accept: string): boolean {
  return type === accept || type === 'application/octet-stream'
}

/** More of an error body is not worth reading. */
const maxErrorBytes = 16 * 1024

async function refusal(request: XrpcRequest, answer: HttpAnswer, rateLimit: RateLimit): Promise<IndexerError> {
  const { error, message } = await readRefusal(answer)
  const { status } = answer
  const code = refusalCode(status, error)
  const retryAfterMs = rateLimit.retryAfterMs ?? (status === 429 ? rateLimit.resetMs : undefined)
  const said = [error, message].filter((part) => part !== undefined).join(': ')
  return new IndexerError(code, `${answer.url.host} answered ${request.method} with ${status} ${said}`.trim(), {
    details: {
      url: answer.url.href,
      status,
      ...(error === undefined ? {} : { error }),
      ...(retryAfterMs === undefined ? {} : { retryAtMs: Date.now() + retryAfterMs }),
    },
  })
}

function refusalCode(status: number, error: string | undefined): ErrorCode {
  if (status === 429 || error === 'RateLimitExceeded') return 'RateLimited'
  if (status >= 500) return 'HostError'
  const named = error === undefined ? undefined : xrpcErrorCodes.get(error)
  if (named) return named
  if (status === 401 || status === 403) return 'HostRefused'
  if (status === 408) return 'HeadersTimeout'
  // A 4xx without an XRPC error did not come from a PDS: a parked domain, a proxy, a moved host.
  if (error === undefined || status < 400) return 'BadResponse'
  return 'XrpcRefused'
}

/** https://github.com/bluesky-social/atproto/blob/main/lexicons/com/atproto/sync/getRepo.json and what relays add. */
const xrpcErrorCodes = new Map<string, ErrorCode>([
  ['RepoNotFound', 'RepoNotFound'],
  ['RepoDeactivated', 'RepoDeactivated'],
  ['RepoTakendown', 'RepoTakendown'],
  ['RepoSuspended', 'RepoSuspended'],
  ['AccountDeactivated', 'RepoDeactivated'],
  ['AccountTakedown', 'RepoTakendown'],
  ['AccountSuspended', 'RepoSuspended'],
])

/** An error body that is no XRPC error, is too long or breaks says nothing; the status then decides alone. */
async function readRefusal(answer: HttpAnswer): Promise<{ error?: string; message?: string }> {
  if (contentType(answer) !== 'application/json') {
    answer.discard()
    return {}
  }
  try {
    const value: unknown = JSON.parse(await readText(answer, maxErrorBytes))
    if (typeof value !== 'object' || value === null) return {}
    return {
      ...('error' in value && typeof value.error === 'string' ? { error: value.error.slice(0, 100) } : {}),
      ...('message' in value && typeof value.message === 'string' ? { message: value.message.slice(0, 300) } : {}),
    }
  } catch {
    return {}
  }
}
