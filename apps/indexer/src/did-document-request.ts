// One DID document over HTTP, from a PLC directory or a did:web host. In: its URL. Out: the parsed JSON, not looked into; every other
// answer is an error with a code.
import { IndexerError } from './errors.ts'
import { type GetOptions, type Http, type HttpAnswer, headerText } from './http.ts'
import { readText } from './http-text.ts'
import { readRateLimit } from './rate-limit.ts'

export const documentType = 'application/json'

/** `options` are passed on as they are, one object for all DIDs. */
export async function requestDocument(
  http: Http,
  { url, did }: { url: string; did: string },
  options: GetOptions,
): Promise<unknown> {
  const answer = await http.get(url, options)
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

/** From a host that anybody may have chosen: whatever it does, it is done with after `timeoutMs`. */
export async function requestWebDocument(
  http: Http,
  { url, did }: { url: string; did: string },
  { timeoutMs, ...options }: GetOptions & { timeoutMs: number },
): Promise<unknown> {
  const deadline = new AbortController()
  const timer = setTimeout(() => {
    const message = `${URL.parse(url)?.host} gave no whole document of ${did} in ${timeoutMs} ms`
    deadline.abort(new IndexerError('BodyTooSlow', message, { details: { did, url } }))
  }, timeoutMs)
  try {
    return await requestDocument(http, { url, did }, { ...options, signal: deadline.signal })
  } finally {
    clearTimeout(timer)
  }
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
