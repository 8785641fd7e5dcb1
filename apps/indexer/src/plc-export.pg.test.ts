import type { IncomingMessage, ServerResponse } from 'node:http'
import pino from 'pino'
import { describe, expect, it } from 'vitest'
import { openTestHttp, startTestServer } from './http-test-server.ts'
import { openIdentities } from './identities.ts'
import { openLocalDirectory } from './local-directory.ts'
import { followPlcExport } from './plc-export.ts'
import { createResolver } from './resolve.ts'
import { openState } from './state.ts'
import { openTestDatabase } from './testing-database.ts'

const key = 'did:key:zQ3shunBKsXixLxKtC5qeSG9E4J5RkGN57im31pcTzbNQnm5w'
const log = pino({ level: 'silent' })

interface Operation {
  did: string
  atMs: number
  host?: string
  nullified?: boolean
}

const didOf = (index: number) => `did:plc:${index.toString(36).padStart(24, 'a')}`
const many = (count: number, perMs = 3): Operation[] =>
  Array.from({ length: count }, (_, index) => ({ did: didOf(index), atMs: 1000 + Math.floor(index / perMs) }))

/** As the real one: operations created after `after`, oldest first. */
function serveExport(operations: readonly Operation[]) {
  return (request: IncomingMessage, response: ServerResponse) => {
    const { searchParams } = new URL(request.url ?? '/', 'http://plc')
    const after = Date.parse(searchParams.get('after') ?? '') || 0
    const page = operations.filter(({ atMs }) => atMs > after).slice(0, Number(searchParams.get('count')))
    const lines = page.map(({ did, atMs, host = 'https://pds.example', nullified = false }) =>
      JSON.stringify({
        did,
        createdAt: new Date(atMs).toISOString(),
        nullified,
        operation:
          host === 'tombstone'
            ? { type: 'plc_tombstone' }
            : {
                type: 'plc_operation',
                alsoKnownAs: [`at://${did.slice(8)}.example`],
                verificationMethods: { atproto: key },
                services: { atproto_pds: { endpoint: host } },
              },
      }),
    )
    response.setHeader('content-type', 'application/jsonlines')
    response.end(lines.join('\n'))
  }
}

async function follow(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
  use: (tools: {
    /** Follows until `pages` pages have been saved, or the directory has no more. */
    run(pages?: number): Promise<void>
    count(): Promise<number>
    lookUp: ReturnType<typeof openIdentities>['lookUp']
    asked: string[]
    plcUrl: string
  }) => Promise<void>,
): Promise<void> {
  await using database = await openTestDatabase({ migrated: true })
  await using plc = await startTestServer(handler)
  await using http = openTestHttp()
  const identities = openIdentities(database)
  const run = async (pages = Number.POSITIVE_INFINITY) => {
    const done = new AbortController()
    let seen = 0
    const following = followPlcExport({
      http,
      plcUrl: plc.origin,
      identities,
      log,
      signal: done.signal,
      limits: { pageOperations: 10, pollMs: 20, backOffMs: 5 },
      onPage: ({ caughtUp }) => {
        if (caughtUp || ++seen >= pages) done.abort('done')
      },
    })
    await expect(following).rejects.toBe('done')
  }
  const count = async () => {
    const { rows } = await database.pool.query<{ count: number }>('select count(*) from identities')
    return Number(rows[0]?.count)
  }
  await use({ run, count, lookUp: identities.lookUp, asked: plc.asked, plcUrl: plc.origin })
}

describe('followPlcExport', () => {
  it('takes every operation of every page, though a millisecond may stand on both sides of its end', () =>
    follow(serveExport(many(205)), async ({ run, count, lookUp }) => {
      await run()
      expect(await count()).toBe(205)
      expect(await lookUp(didOf(204))).toEqual({
        did: didOf(204),
        host: 'https://pds.example',
        signingKey: key,
        handle: `${didOf(204).slice(8)}.example`,
      })
    }))

  it('goes on where a killed run stopped', () =>
    follow(serveExport(many(100)), async ({ run, count, asked }) => {
      await run(4)
      expect(await count()).toBeLessThan(45)
      const before = asked.length
      await run()
      expect(await count()).toBe(100)
      expect(asked.length - before).toBeLessThan(11)
    }))

  it('keeps the newest operation of a DID: moved, tombstoned, or nullified', () => {
    const operations: Operation[] = [
      { did: didOf(1), atMs: 1000 },
      { did: didOf(1), atMs: 1001, host: 'https://new.example' },
      { did: didOf(2), atMs: 1002 },
      { did: didOf(2), atMs: 1003, host: 'tombstone' },
      { did: didOf(3), atMs: 1004 },
      { did: didOf(3), atMs: 1005, host: 'https://stolen.example', nullified: true },
      ...many(30).map((operation) => ({ ...operation, did: didOf(100 + operation.atMs), atMs: operation.atMs + 1000 })),
    ]
    return follow(serveExport(operations), async ({ run, lookUp }) => {
      await run()
      const [first, second, third] = await Promise.all([1, 2, 3].map((index) => lookUp(didOf(index))))
      expect(first?.host).toBe('https://new.example')
      expect(second).toBeUndefined()
      expect(third?.host).toBe('https://pds.example')
    })
  })

  it('follows what comes later', () => {
    const operations = many(5)
    return follow(serveExport(operations), async ({ run, count, lookUp }) => {
      await run()
      operations.push({ did: didOf(0), atMs: 5000, host: 'https://later.example' })
      await run()
      expect(await count()).toBe(5)
      expect((await lookUp(didOf(0)))?.host).toBe('https://later.example')
    })
  })

  it('takes an operation that turns up late, behind others of a later time', () => {
    const operations = [...many(25), { did: didOf(90), atMs: 60_000 }]
    return follow(serveExport(operations), async ({ run, lookUp, asked }) => {
      await run()
      operations.splice(25, 0, { did: didOf(0), atMs: 58_000, host: 'https://late.example' })
      const before = asked.length
      await run()
      expect((await lookUp(didOf(0)))?.host).toBe('https://late.example')
      expect(asked.length - before).toBe(1)
    })
  })

  it('gets past more operations of one millisecond than fit on a page', () =>
    follow(serveExport([...many(25, 25), { did: didOf(90), atMs: 2000 }]), async ({ run, lookUp }) => {
      await run()
      expect(await lookUp(didOf(90))).toBeDefined()
    }))

  it('waits out 429, 5xx, HTML and broken pages, and loses nothing', () => {
    const serve = serveExport(many(40))
    let asked = 0
    return follow(
      (request, response) => {
        asked++
        if (asked === 1) response.writeHead(429, { 'retry-after': '0' }).end()
        else if (asked === 3) response.writeHead(500).end()
        else if (asked === 4) response.end('<html>\n</html>')
        else if (asked === 5) response.destroy()
        else serve(request, response)
      },
      async ({ run, count }) => {
        await run()
        expect(await count()).toBe(40)
      },
    )
  })

  it('lets a resolver answer without the directory, and be refreshed from it', () =>
    follow(serveExport(many(50)), async ({ run, lookUp, asked, plcUrl }) => {
      await run()
      const before = asked.length
      await using http = openTestHttp()
      const resolver = createResolver({ http, plcUrls: [plcUrl], local: { lookUp }, limits: { backOffMs: 1 } })
      const found = await Promise.all(Array.from({ length: 50 }, (_, index) => resolver.resolve(didOf(index))))
      expect(found.every(({ host }) => host === 'https://pds.example')).toBe(true)
      expect(asked.length).toBe(before)
      await resolver.resolve(didOf(1), { refresh: true }).catch(() => undefined)
      expect(asked.length).toBeGreaterThan(before)
    }))

  it('runs beside a crawl, in one process at a time, and ends with it', async () => {
    await using database = await openTestDatabase({ migrated: true })
    await using plc = await startTestServer(serveExport(many(5)))
    await using http = openTestHttp()
    const state = await openState(database)
    const options = { database, state, http, plcUrl: plc.origin, log }
    {
      await using directory = openLocalDirectory(options)
      await expect.poll(() => directory.lookUp(didOf(4)), { timeout: 10_000 }).toBeDefined()
      const { rows } = await database.pool.query('select name from leases where process = $1', [state.process])
      expect(rows).toEqual([{ name: 'plc-export' }])
    }
    const asked = plc.asked.length
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(plc.asked.length).toBe(asked)
    await state.end()
  })
})
