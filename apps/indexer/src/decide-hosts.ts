// The stage beside discover that settles whose an account is when a second host lists it: the DID document, asked anew, decides.
// Input: claims that listings left in the database; output: repos that moved, or claims refuted. Those whose document could not be
// had stay open for the next run. did:web are a walk of their own: their hosts may be as slow as they like, and did:plc do not wait for them.
import { setTimeout as sleep } from 'node:timers/promises'
import { errorClass } from './errors.ts'
import type { Log } from './log.ts'
import type { Resolver } from './resolve.ts'
import { whenAskable } from './retry-policy.ts'
import type { State } from './state.ts'
import type { HostClaim, HostDecision } from './state-host-claims.ts'
import { Slots } from './write-slots.ts'

const batchSize = 500
const lookAgainMs = 500

export interface DecideContext {
  state: State
  resolver: Resolver
  log: Log
  /** DIDs of each method asked at the same time. */
  concurrency: number
  signal: AbortSignal
  /** False once no listing can leave a claim any more. */
  moreToCome: () => boolean
}

export async function decideHosts(context: DecideContext): Promise<void> {
  const stop = new AbortController()
  const signal = AbortSignal.any([context.signal, stop.signal])
  const walks = [false, true].map((isWeb) => decideAll(isWeb, { ...context, signal }))
  for (const walk of walks) walk.catch((error: unknown) => stop.abort(error))
  await Promise.allSettled(walks)
  stop.signal.throwIfAborted()
}

async function decideAll(isWeb: boolean, context: DecideContext): Promise<void> {
  const { state, signal, log } = context
  const slots = new Slots(context.concurrency)
  let after = 0
  let isLastRound = false
  for (;;) {
    signal.throwIfAborted()
    const more = context.moreToCome()
    const claims = await state.takeHostClaims(after, { limit: batchSize, isWeb })
    const decisions = await Promise.all(claims.map((claim) => slots.run(() => ask(claim, context))))
    const moved = await state.decideHostClaims(decisions.filter((decision) => decision !== undefined))
    if (moved > 0) log.info({ repos: moved }, 'accounts have moved to the host that their DID document names')
    after = claims.at(-1)?.id ?? after
    if (claims.length === batchSize) continue
    if (more) {
      await sleep(lookAgainMs, undefined, { signal })
    } else {
      if (isLastRound) return
      isLastRound = true
      after = 0 // claims commit in any order, and some could not be decided at first
    }
  }
}

async function ask(claim: HostClaim, { resolver, signal, log }: DecideContext): Promise<HostDecision | undefined> {
  try {
    const resolve = () => resolver.resolve(claim.did, { refresh: true, signal })
    return { claim, identity: await whenAskable(resolve, signal) }
  } catch (error) {
    const kind = errorClass(error)
    if (signal.aborted || kind === undefined || kind === 'stop-run') throw error
    log.debug({ did: claim.did, err: error }, 'no DID document to decide between two hosts')
    return kind === 'retry' ? undefined : { claim, identity: undefined }
  }
}
