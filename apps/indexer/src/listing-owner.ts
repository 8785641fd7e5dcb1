// A source is listed by one process, whichever has its lease; the others wait for it to be done, and take over when the owner dies.
// In: a source. Out: it is listed, here or elsewhere. The surprise: what was listed to its end since the first of the processes
// that live began is not listed again, for that is the same crawl; other names in a file or as arguments are listed.
import { setTimeout as sleep } from 'node:timers/promises'
import { type DiscoverContext, discover, type Source } from './discover.ts'
import { discoverHosts, type HostsSource } from './discover-hosts.ts'
import { IndexerError } from './errors.ts'
import { withLease } from './leases.ts'
import type { State } from './state.ts'

const againAfterMs = 500

export interface OwnedContext extends DiscoverContext {
  state: State
}

/** Throws what `discover` throws, but never `SourceTaken`: then another process has the lease, and is waited for. */
export async function discoverOnce(source: Source | HostsSource, context: OwnedContext): Promise<void> {
  const { state } = context
  const discoverOne = (one: Source, given: DiscoverContext) =>
    owned(one, { state, signal: given.signal }, (signal) => discover(one, { ...given, signal }))
  if (!('relay' in source)) return await discoverOne(source, context)
  await owned(source, context, (signal) => discoverHosts(source, { ...context, signal, discoverHost: discoverOne }))
}

/** A host has one lease, whether it is a source or one of the hosts of a relay: its cursor is the same. */
async function owned(
  source: Pick<Source, 'name' | 'version'>,
  { state, signal }: Pick<OwnedContext, 'state' | 'signal'>,
  list: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  for (;;) {
    try {
      await withLease(state, { name: `source ${source.name}`, signal }, async (signal) => {
        if (!(await state.wasListed(source.name, await source.version?.()))) await list(signal)
      })
      return
    } catch (error) {
      if (!(error instanceof IndexerError) || error.code !== 'SourceTaken') throw error
      await sleep(againAfterMs, undefined, { signal })
    }
  }
}
