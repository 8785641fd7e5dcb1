import { type Commit, type Entry, entryOf } from 'repo-stream'
import { encodeRecord } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import { loadConfig } from './config.ts'
import { MemoryBudget } from './memory-budget.ts'
import { projectionLimits } from './project/limits.ts'
import { createProjection, type Projection } from './project/projection.ts'
import { placeOf } from './project/testing-place.ts'
import { RepoRows } from './repo-rows.ts'
import { RowBuffers } from './row-buffers.ts'
import type { ClaimedRepo } from './state.ts'

const KiB = 1024
const claim: ClaimedRepo = {
  ...{ id: 1, did: 'did:plc:a', claim: '1', rev: null, attempts: 0 },
  ...{ host: 'https://pds.example.com', hostId: 1, signingKey: null, handle: null },
}
const commit: Commit = {
  ...{
    did: claim.did,
    version: 3,
    rev: '3l3qo2vutsw2b',
    prev: null,
    data: new Uint8Array(36),
    cid: new Uint8Array(36),
  },
  ...{ sig: new Uint8Array(64), signedBytes: new Uint8Array(0) },
}
const config = await loadConfig()

function entryAt(rkey: string): Entry {
  return entryOf({ collection: 'net.example.thing', rkey, cid: cidOf(0), data: new Uint8Array(0) })
}

/** Of some block, without the cost of a hash. */
function cidOf(block: number): Uint8Array {
  const cid = new Uint8Array(36)
  cid.set([1, 0x71, 0x12, 0x20])
  new DataView(cid.buffer).setUint32(4, block)
  return cid
}

test('rejects of tiny blocks fill the budget as what they take in memory, not as their blocks', () => {
  const budget = new MemoryBudget(64 * KiB)
  const rows = new RepoRows(claim, { budget, rowBuffers: new RowBuffers() })
  let rejects = 0
  for (; rejects < 10_000 && rows.reserve(); rejects++) {
    rows.reject(entryAt(String(rejects)), 'RecordMalformed', 'why', Uint8Array.of(0xff))
  }
  expect(rejects).toBeGreaterThan(50)
  expect(rejects).toBeLessThan(128)
  for (const _ of rows.drain());
  expect(rows.bytes).toBe(0)
})

test('a repo holds no more oddities than are kept of it, also when they are handed over on the way, and says how many more there were', () => {
  const [table] = config.tables
  if (table === undefined) throw new Error('a config has a table')
  const rows = new RepoRows(claim, { budget: new MemoryBudget(64 * KiB), rowBuffers: new RowBuffers() })
  let held = 0
  for (let i = 0; i < 3 * projectionLimits.maxOdditiesPerRepo; i++) {
    rows.oddity(table, entryAt(String(i)), 'text', 'WrongType', Uint8Array.of(1))
    if (i % 700 !== 0) continue
    for (const chunk of rows.drain()) held += 'oddities' in chunk ? chunk.oddities.length : 0
  }
  expect(held).toBe(projectionLimits.maxOdditiesPerRepo)
  expect(rows.bytes).toBe(0)
  expect(rows.totals(commit).oddities).toEqual([
    { collection: '', rkey: '', column: '', code: 'NotKept', original: Buffer.from('2000') },
  ])
})

test('what is held of a rejected record or an odd value is a copy, for their memory is used again', () => {
  const [table] = config.tables
  if (table === undefined) throw new Error('a config has a table')
  const rows = new RepoRows(claim, { budget: new MemoryBudget(64 * KiB), rowBuffers: new RowBuffers() })
  const bytes = Uint8Array.of(1, 2, 3)
  rows.reject(entryAt('a'), 'RecordMalformed', 'why', bytes)
  rows.oddity(table, entryAt('b'), 'text', 'TextNul', bytes)
  bytes.fill(0)
  const { rejects, oddities } = rows.totals(commit)
  expect(rejects.map((reject) => [...reject.bytes])).toEqual([[1, 2, 3]])
  expect(oddities.map(({ original }) => [...original])).toEqual([[1, 2, 3]])
})

test('an original that is too large for what a repo may keep does not keep out the smaller ones after it', () => {
  const [table] = config.tables
  if (table === undefined) throw new Error('a config has a table')
  const rows = new RepoRows(claim, { budget: new MemoryBudget(64 * KiB), rowBuffers: new RowBuffers() })
  rows.oddity(table, entryAt('a'), 'text', 'TextNul', new Uint8Array(projectionLimits.maxOddityBytesPerRepo + 1))
  rows.oddity(table, entryAt('b'), 'text', 'TextNul', Uint8Array.of(1))
  expect(rows.totals(commit).oddities.map(({ rkey, code }) => [rkey, code])).toEqual([
    ['b', 'TextNul'],
    ['', 'NotKept'],
  ])
})

test('of a repo where more blocks lie about their collection than can be remembered, the next walk keeps every block raw', () => {
  const like = Uint8Array.from(encodeRecord({ $type: 'app.bsky.feed.like', createdAt: '2024-05-01T00:00:00.000Z' }))
  const blocks = 100_300
  const walkOnce = (projection: Projection): RepoRows => {
    const rows = new RepoRows(claim, { budget: new MemoryBudget(64 * KiB), rowBuffers: new RowBuffers() })
    for (let block = 0; block < blocks; block++) {
      const cid = cidOf(block)
      const data = projection.process(like, cid.subarray(4), placeOf(like)).slice()
      projection.settle(entryOf({ collection: 'app.bsky.feed.post', rkey: String(block), cid, data }), rows)
    }
    return rows
  }
  const first = walkOnce(createProjection(config))
  expect(first.keepRaw).toBe('all')
  const second = walkOnce(createProjection(config, { keepRaw: first.keepRaw ?? new Set() }))
  expect(second.keepRaw).toBeUndefined()
  expect(second.rows).toBe(blocks)
})
