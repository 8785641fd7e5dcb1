// Accounts that no listing has any more, because they were deleted or because the listing leaves them out. A decorator around the
// handlers of the demo's relay and PDSs.
import type { Handler, Reply } from 'indexer/demo/server.ts'
import { json, xrpcError } from 'indexer/demo/server.ts'

export class Absences {
  /** By DID; true: its host does not know it either. */
  readonly #absent = new Map<string, boolean>()

  set(did: string, isDeleted: boolean): void {
    this.#absent.set(did, isDeleted)
  }

  isDeleted(did: string): boolean {
    return this.#absent.get(did) === true
  }

  delete(did: string): void {
    this.#absent.delete(did)
  }

  around(handler: Handler): Handler {
    return async (request) => {
      const did = request.params.get('did') ?? ''
      if (this.#absent.get(did)) return xrpcError(400, 'RepoNotFound', `Could not find repo for DID: ${did}`)
      const reply = await handler(request)
      return request.method === 'com.atproto.sync.listRepos' && this.#absent.size > 0 ? this.#listing(reply) : reply
    }
  }

  #listing(reply: Reply): Reply {
    if (typeof reply.body !== 'string' || reply.status !== 200) return reply
    const page = JSON.parse(reply.body) as { repos: Array<{ did: string }>; cursor?: string }
    return json(200, { ...page, repos: page.repos.filter(({ did }) => !this.#absent.has(did)) })
  }
}
