// The stage behind discover that asks for accounts which a listing no longer has: first their DID document, for they may have moved, then
// their own host. In: rows that comparing two passes left. Out: accounts that are gone, have moved, or live as before. What a host does
// not say clearly changes nothing; whoever could not be asked is left to the next run.
import { setTimeout as sleep } from 'node:timers/promises'
import type { Identity } from './did-document.ts'
import { errorClass, IndexerError } from './errors.ts'
import { getRepoStatus } from './fetch-pages.ts'
import type { FetchContext } from './fetch-xrpc.ts'
import type { Log } from './log.ts'
import type { Resolver } from './resolve.ts'
import { type RetryPolicy, whenAskable, withRetries } from './retry-policy.ts'
import type { State } from './state.ts'
import { statusOf } from './state-outcomes.ts'
import type { UnlistedAnswer, UnlistedHost, UnlistedRepo } from './state-unlisted.ts'
import { Slots } from './write-slots.ts'

/** Asked at the same time, each at its own pace. */
const hostsAtOnce = 64
/** Requests to one host at the same time: its pace is what bounds it, unless it takes seconds to answer. */
const asksAtOnce = 16
/** Answers that are committed together. */
const batchSize = 200
const maxAttempts = 3
/** Accounts in a row that a host did not answer for; the others of it are left to the next run. */
const maxUnanswered = 3
const lookAgainMs = 500

export interface UnlistedContext {
  state: State
  resolver: Resolver
  fetch: FetchContext
  log: Log
  retry: RetryPolicy
  signal: AbortSignal
  /** False once no listing can find that somebody is missing any more. */
  moreToCome: () => boolean
}

export async function askUnlisted(context: UnlistedContext): Promise<void> {
  const { state, signal, log, moreToCome } = context
  while (moreToCome()) await sleep(lookAgainMs, undefined, { signal })
  const slots = new Slots(hostsAtOnce)
  const sum = { asked: 0, gone: 0, moved: 0, left: 0 }
  const hosts = await state.unlistedHosts()
  const asks = await Promise.allSettled(hosts.map((host) => slots.run(() => askHost(host, sum, context))))
  for (const one of asks) if (one.status === 'rejected') throw one.reason
  if (sum.asked > 0) log.info(sum, 'accounts that listings no longer have were asked for at their hosts')
}

async function askHost(
  host: UnlistedHost,
  sum: Record<'asked' | 'gone' | 'moved' | 'left', number>,
  context: UnlistedContext,
): Promise<void> {
  const { state, signal } = context
  const slots = new Slots(asksAtOnce)
  let after = 0
  let unanswered = 0
  while (unanswered < maxUnanswered) {
    signal.throwIfAborted()
    const repos = await state.takeUnlisted(host.hostId, { after, limit: batchSize })
    const asks = repos.map((repo) =>
      slots.run(async () => {
        if (unanswered >= maxUnanswered) return undefined
        const answer = await askOne(repo, host.origin, context)
        unanswered = answer === undefined ? unanswered + 1 : 0
        return answer
      }),
    )
    const asked = await Promise.allSettled(asks)
    for (const one of asked) if (one.status === 'rejected') throw one.reason
    const answers = asked.flatMap((one) => (one.status === 'fulfilled' && one.value ? [one.value] : []))
    const { gone, moved } = await state.settleUnlisted(host.hostId, answers)
    sum.asked += repos.length
    sum.left += repos.length - answers.length
    sum.gone += gone
    sum.moved += moved
    const last = repos.at(-1)
    if (last === undefined || repos.length < batchSize) return
    after = last.repo
  }
}

/** undefined: nobody could say; it is asked again by the next run. */
async function askOne(
  unlisted: UnlistedRepo,
  origin: string,
  context: UnlistedContext,
): Promise<UnlistedAnswer | undefined> {
  const { fetch, signal, log } = context
  const { did } = unlisted
  const retry = { ...context.retry, maxAttempts: Math.min(maxAttempts, context.retry.maxAttempts) }
  try {
    const moved = await documentOf(did, context)
    if (moved !== undefined && moved.host !== origin) return { ...unlisted, moved }
    const status = await withRetries(() => getRepoStatus({ host: origin, did }, fetch), retry, { signal })
    return { ...unlisted, status }
  } catch (error) {
    const kind = errorClass(error)
    if (signal.aborted || kind === undefined || kind === 'stop-run') throw error
    if (kind === 'gone')
      return { ...unlisted, status: { did, active: false, status: statusOf((error as IndexerError).code) } }
    if (isUnknownMethod(error)) return { ...unlisted, unclear: true } // getRepo will tell
    log.debug({ did, err: error }, 'an account that is not listed any more could not be asked for')
    return undefined
  }
}

/** What servers say that are older than getRepoStatus; the reference PDS wants authentication for what it does not know. */
function isUnknownMethod(error: unknown): boolean {
  if (!(error instanceof IndexerError)) return false
  const unknown = ['AuthMissing', 'MethodNotImplemented', 'XRPCNotSupported']
  return error.code === 'XrpcRefused' || unknown.some((name) => name === error.details.error)
}

/** undefined: it has none that names a host, so the one we know is asked. Throws when it could not be asked for. */
async function documentOf(did: string, { resolver, signal }: UnlistedContext): Promise<Identity | undefined> {
  try {
    return await whenAskable(() => resolver.resolve(did, { refresh: true, signal }), signal)
  } catch (error) {
    if (error instanceof IndexerError && !signal.aborted && errorClass(error) !== 'retry') return undefined
    throw error
  }
}
