// Accounts that go on writing: new records under a new rev, which listings and getRepo show from then on. A decorator
// around the handlers of the demo's relay and PDSs.
import type { DemoAccount } from 'indexer/demo/population.ts'
import type { DemoRecord } from 'indexer/demo/posts.ts'
import type { Handler, Reply } from 'indexer/demo/server.ts'
import { json } from 'indexer/demo/server.ts'
import {
  type BuiltRepo,
  buildRepo,
  microsFromTid,
  type Random,
  type SigningKey,
  tidFromMicros,
} from 'repo-stream/fixtures'

interface Edited {
  readonly records: readonly DemoRecord[]
  readonly repo: BuiltRepo
}

export class Edits {
  readonly #edited = new Map<string, Edited>()

  recordsOf({ did }: DemoAccount): readonly DemoRecord[] | undefined {
    return this.#edited.get(did)?.records
  }

  /** About a fifth of `records` goes, a fifth of the posts changes, and some posts come. */
  edit({ did, rev }: DemoAccount, records: Iterable<DemoRecord>, { random, signingKey }: EditOptions): void {
    const micros = (microsFromTid(this.#edited.get(did)?.repo.rev ?? rev) ?? 0) + 1_000_000
    const kept = Array.from(records).filter(() => !random.chance(0.2))
    const changed = kept.map((record) => {
      const { text } = record.value
      if (typeof text !== 'string' || !random.chance(0.2)) return record
      return { ...record, value: { ...record.value, text: `${text} (edited)` } }
    })
    const added = Array.from({ length: random.below(5) }, (_, index) => ({
      key: `app.bsky.feed.post/${tidFromMicros(micros + index, 9)}`,
      value: {
        $type: 'app.bsky.feed.post',
        text: `Written later ${index}`,
        createdAt: new Date(micros / 1000).toISOString(),
      },
    }))
    const next = [...changed, ...added]
    const repo = buildRepo({ did, signingKey, records: next, rev: tidFromMicros(micros + 1000, 0) })
    this.#edited.set(did, { records: next, repo })
  }

  around(handler: Handler): Handler {
    return async (request) => {
      const reply = await handler(request)
      if (this.#edited.size === 0 || reply.status !== 200) return reply
      if (request.method === 'com.atproto.sync.listRepos') return this.#listing(reply)
      const edited = this.#edited.get(request.params.get('did') ?? '')
      if (edited && request.method === 'com.atproto.sync.getRepoStatus') return withRev(reply, edited.repo.rev)
      if (request.method !== 'com.atproto.sync.getRepo') return reply
      return edited === undefined ? reply : { ...reply, body: edited.repo.chunks() }
    }
  }

  #listing(reply: Reply): Reply {
    if (typeof reply.body !== 'string') return reply
    const page = JSON.parse(reply.body) as { repos: Array<{ did: string }>; cursor?: string }
    const repos = page.repos.map((row) => {
      const edited = this.#edited.get(row.did)
      return edited === undefined ? row : { ...row, rev: edited.repo.rev, head: edited.repo.head }
    })
    return json(200, { ...page, repos })
  }
}

function withRev(reply: Reply, rev: string): Reply {
  const status = JSON.parse(typeof reply.body === 'string' ? reply.body : '{}')
  return json(200, status.active ? { ...status, rev } : status)
}

interface EditOptions {
  readonly random: Random
  readonly signingKey: SigningKey
}
