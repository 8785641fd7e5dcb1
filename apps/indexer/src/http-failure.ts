// Gives every failure of a request its code. In: whatever undici, net, tls, dns or zlib threw. Out: an IndexerError.
// The surprise: what has no `code` of theirs is our own bug and is passed on untouched.
import { errors } from 'undici'
import { type ErrorCode, IndexerError } from './errors.ts'

/** When the failure came: the same `ECONNRESET` is no connection before the headers and a cut body after them. */
export type HttpStage = 'headers' | 'body'

export function httpFailure(error: unknown, url: string, stage: HttpStage): unknown {
  const known = indexerErrorWithin(error)
  if (known) return known
  const code = systemCode(error)
  if (code === undefined) return error
  const named = failureCode(code, stage)
  const reason = error instanceof Error && error.message !== '' ? error.message : code
  return new IndexerError(named, `${new URL(url).host}: ${reason}`, { cause: error, details: { url, reason: code } })
}

/** The connect-time check throws inside net.connect, which may wrap it. */
function indexerErrorWithin(error: unknown): IndexerError | undefined {
  for (let depth = 0, at = error; depth < 5 && at instanceof Error; depth++, at = at.cause) {
    if (at instanceof IndexerError) return at
    if (at instanceof AggregateError) {
      const inner = at.errors.find((one) => one instanceof IndexerError)
      if (inner instanceof IndexerError) return inner
    }
  }
  return undefined
}

function systemCode(error: unknown): string | undefined {
  if (error instanceof errors.HTTPParserError) return error.code ?? 'HPE_UNKNOWN'
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined
  // An undici wrapper says only "socket error"; its cause has the reason.
  const inner = error.code === 'UND_ERR_SOCKET' ? systemCode(error.cause) : undefined
  return inner ?? error.code
}

function failureCode(code: string, stage: HttpStage): ErrorCode {
  const exact = failureCodes.get(code)
  if (exact) return exact
  if (/^(ERR_TLS|ERR_SSL|ERR_OSSL|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|HOSTNAME_|CRL_|INVALID_)/.test(code))
    return 'TlsFailed'
  if (/^(Z_|ERR_BROTLI|ERR__ERROR|ERR_?ZSTD|ZSTD_|ERR_)/.test(code) && stage === 'body') return 'BadEncoding'
  if (code.startsWith('HPE_')) return 'BadResponse'
  return stage === 'headers' ? 'ConnectFailed' : 'ConnectionLost'
}

const failureCodes = new Map<string, ErrorCode>([
  ['ENOTFOUND', 'DnsFailed'],
  ['EAI_AGAIN', 'DnsFailed'],
  ['EAI_FAIL', 'DnsFailed'],
  ['EAI_NODATA', 'DnsFailed'],
  ['ENODATA', 'DnsFailed'],
  ['ESERVFAIL', 'DnsFailed'],
  ['EREFUSED', 'DnsFailed'],
  ['EBADNAME', 'DnsFailed'],
  ['EBADRESP', 'DnsFailed'],
  ['EFORMERR', 'DnsFailed'],
  ['ETIMEOUT', 'DnsFailed'], // of c-ares; a connection's is ETIMEDOUT
  ['EPROTO', 'TlsFailed'],
  ['UND_ERR_HEADERS_TIMEOUT', 'HeadersTimeout'],
  ['UND_ERR_BODY_TIMEOUT', 'BodyStalled'],
  ['UND_ERR_HEADERS_OVERFLOW', 'BadResponse'],
  ['UND_ERR_SOCKET', 'ConnectionLost'],
  ['ECONNRESET', 'ConnectionLost'],
  ['EPIPE', 'ConnectionLost'],
  ['UND_ERR_RES_CONTENT_LENGTH_MISMATCH', 'ConnectionLost'],
  ['UND_ERR_RES_EXCEEDED_MAX_SIZE', 'BodyTooBig'],
  ['HPE_INVALID_EOF_STATE', 'ConnectionLost'],
  ['Z_BUF_ERROR', 'ConnectionLost'],
])
