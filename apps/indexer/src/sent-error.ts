// An error as it crosses threads: class, code and values survive; of the cause its text. What is none of our errors arrives as
// a plain Error with its stack, and stops the run as it would have done.
import { RepoStreamError, type RepoStreamErrorCode } from 'repo-stream'
import { type ErrorCode, IndexerError } from './errors.ts'

export type SentError = {
  message: string
  cause: string | undefined
  details: Readonly<Record<string, unknown>>
} & (
  | { type: 'indexer'; code: ErrorCode }
  | { type: 'repo-stream'; code: RepoStreamErrorCode; offset: number | undefined; cid: string | undefined }
  | { type: 'bug'; stack: string | undefined }
)

export function sendError(error: unknown): SentError {
  const { message, cause, stack } = error instanceof Error ? error : new Error(String(error))
  const sent = { message, cause: cause === undefined ? undefined : String(cause), details: {} }
  if (error instanceof IndexerError) {
    return { ...sent, type: 'indexer', code: error.code, details: cloneable(error.details) }
  }
  if (error instanceof RepoStreamError) {
    const { code, offset, cid } = error
    return { ...sent, type: 'repo-stream', code, offset, cid, details: cloneable(error.details) }
  }
  return { ...sent, type: 'bug', stack }
}

export function receiveError(sent: SentError): Error {
  const { message, details } = sent
  const options = { details, ...(sent.cause === undefined ? {} : { cause: new Error(sent.cause) }) }
  if (sent.type === 'indexer') return new IndexerError(sent.code, message, options)
  if (sent.type === 'repo-stream') {
    const { offset, cid } = sent
    return new RepoStreamError(sent.code, message, { ...options, offset, cid })
  }
  const error = new Error(message, options)
  if (sent.stack !== undefined) error.stack = sent.stack
  return error
}

/** Details are plain values by habit, not by type: what cannot travel goes as text. */
function cloneable(details: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(details).map(([name, value]) => {
      const travels = value === null || !['object', 'function', 'symbol'].includes(typeof value)
      return [name, travels ? value : (JSON.stringify(value) ?? String(value))]
    }),
  )
}
