// Downloads one repo as a stream of CAR bytes. In: host and DID. Out: decoded chunks for repo-stream, never the whole body.
// Lazy: nothing is asked before the first chunk is wanted. Ending early, an error or an abort releases the connection.
import { askXrpc, type FetchContext } from './fetch-xrpc.ts'
import type { ByteStream } from './http-body.ts'

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
export function fetchRepo(repo: RepoRequest, context: FetchContext): ByteStream {
  return new CarStream(repo, context)
}

class CarStream implements ByteStream {
  readonly #repo: RepoRequest
  readonly #context: FetchContext
  #body: ByteStream | undefined
  #ended = false

  constructor(repo: RepoRequest, context: FetchContext) {
    this.#repo = repo
    this.#context = context
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<Uint8Array, undefined>> {
    return this.#body?.next() ?? this.#ask()
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#ended = true
    return (await this.#body?.return()) ?? { done: true, value: undefined }
  }

  async #ask(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.#ended) return { done: true, value: undefined }
    const { host, did, since } = this.#repo
    const parameters = { did, since }
    const request = { host, method: 'com.atproto.sync.getRepo', parameters, accept: 'application/vnd.ipld.car' }
    try {
      const { body } = await askXrpc(request, this.#context)
      this.#body = body
      return await (this.#ended ? body.return() : body.next()) // `return` may have been called meanwhile
    } catch (error) {
      this.#ended = true
      throw error
    }
  }
}
