// Downloads one repo as a stream of CAR bytes. In: host and DID. Out: decoded chunks for repo-stream, never the whole body.
// Lazy: nothing is asked before the first chunk is wanted. Ending early, an error or an abort releases the connection.
import { askXrpc, type FetchContext } from './fetch-xrpc.ts'

export interface RepoRequest {
  /** The origin of the PDS. */
  host: string
  did: string
  /** Only blocks newer than this rev. */
  since?: string | undefined
}

/**
 * com.atproto.sync.getRepo. Throws coded IndexerErrors (class `retry`, `gone` or `fail-repo`); an abort throws
 * `signal.reason` as it is. A body that ends early where the protocol cannot tell (a chunked body cut at a chunk) looks
 * whole here: a missing block tells the walk.
 */
export async function* fetchRepo(repo: RepoRequest, context: FetchContext): AsyncGenerator<Uint8Array, void, void> {
  const answer = await askXrpc(
    {
      host: repo.host,
      method: 'com.atproto.sync.getRepo',
      parameters: { did: repo.did, since: repo.since },
      accept: 'application/vnd.ipld.car',
    },
    context,
  )
  yield* answer.body
}
