// What the end of a turn says about the host, as opposed to the repo. In: the result of a fetch. Out: one of four words.

import { RepoStreamError } from 'repo-stream'
import { IndexerError } from './errors.ts'

/** `unused`: nothing was asked, for instance because no repo was left to claim. */
export type TurnResult = 'ok' | 'unused' | { error: unknown }

/** `answered`: the host works, whatever it said of the repo. `none`: our own trouble, or a 429; the host is not judged. */
export type TurnOutcome = 'answered' | 'failed' | 'unused' | 'none'

export function turnOutcome(result: TurnResult): TurnOutcome {
  if (result === 'ok') return 'answered'
  if (result === 'unused') return 'unused'
  const { error } = result
  if (error instanceof RepoStreamError) return ourTroubles.has(error.code) ? 'none' : 'answered'
  if (!(error instanceof IndexerError)) return 'none'
  if (failedCodes.has(error.code)) return 'failed'
  return answeredCodes.has(error.code) ? 'answered' : 'none'
}

const ourTroubles = new Set<string>(['DiskFull', 'DiskFailed', 'StoreBudgetSpent'])

const failedCodes = new Set<string>([
  'DnsFailed',
  'ConnectFailed',
  'TlsFailed',
  'ConnectionLost',
  'HeadersTimeout',
  'BodyStalled',
  'BodyTooSlow',
  'HostError',
  'HostRefused',
  'HostInvalid',
  'AddressRefused',
  'RedirectRefused',
  'RedirectElsewhere',
  'TooManyRedirects',
  'BadResponse',
  'BadEncoding',
])

const answeredCodes = new Set<string>([
  'RepoNotFound',
  'RepoDeactivated',
  'RepoTakendown',
  'RepoSuspended',
  'XrpcRefused',
  'BodyTooBig',
  'CompressionBomb',
  'WrongRepo',
  'RevInFuture',
  'BadSignature',
])
