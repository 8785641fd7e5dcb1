import { existsSync } from 'node:fs'
import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { buildRepo, encodeVarint, makeDid, makeSigningKey, tidFromMicros } from 'repo-stream/fixtures'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { archivePath, openArchive } from './archive.ts'
import { loadConfig } from './config.ts'
import { startTestServer, type TestServer } from './http-test-server.ts'
import { type IndexPool, type IndexPoolOptions, openIndexPool } from './index-pool.ts'
import { MemoryBudget } from './memory-budget.ts'
import type { ClaimedRepo } from './state.ts'
import type { WriteOutcome } from './write.ts'

const MiB = 1024 * 1024
const did = makeDid(3)
/** Ten chunks, far more than may be under way. */
const records = 5_000
const text = 'x'.repeat(400)
const { car, entries } = buildRepo({
  did,
  signingKey: makeSigningKey('a'),
  rev: tidFromMicros(1, 1),
  records: Array.from({ length: records }, (_, i) => ({
    key: `app.bsky.feed.post/${tidFromMicros(1_700_000_000_000_000 + i, 1)}`,
    value: {
      $type: 'app.bsky.feed.post',
      text: i < records - 1 ? text : 'last',
      createdAt: '2024-05-01T00:00:00.000Z',
    },
  })),
})
let dir: string
let host: TestServer
/** What it answers. */
let served = car

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'index-pool-'))
  await openArchive(dir)
  host = await startTestServer((_request, response) => {
    response.writeHead(200, { 'content-type': 'application/vnd.ipld.car' }).end(served)
  })
})
afterAll(async () => {
  await host.close()
  await rm(dir, { recursive: true })
})

/** One thread, to which every repo is a large one. */
async function openPool(
  addLarge: IndexPoolOptions['writer']['addLarge'],
  {
    largeRepoBytes = 1024,
    repoMemoryBytes = 16 * MiB,
    spillDir = dir,
    budget = new MemoryBudget(64 * MiB),
    ...more
  }: Partial<IndexPoolOptions> & {
    largeRepoBytes?: number
    repoMemoryBytes?: number
    spillDir?: string
    budget?: MemoryBudget
  } = {},
): Promise<IndexPool> {
  const spills = new MemoryBudget(64 * MiB)
  return openIndexPool({
    threads: 1,
    setup: {
      config: await loadConfig(),
      http: { version: 'test', contact: undefined, allowPrivateHosts: true, limits: {} },
      plcUrls: [],
      budget: { limitBytes: budget.limitBytes, shared: budget.shared },
      repoMemoryBytes,
      largeRepoBytes,
      hugeBytes: 64 * MiB,
      spillDir,
      spills: { limitBytes: spills.limitBytes, shared: spills.shared },
      verify: 'structure',
      archive: { dir, use: 'keep' },
    },
    writer: { add: () => Promise.reject(new Error('no repo is small here')), addLarge },
    signal: new AbortController().signal,
    onSeen: () => undefined,
    onFetched: () => undefined,
    ...more,
  })
}

function claimed(): ClaimedRepo {
  return {
    id: 1,
    did,
    claim: '1',
    rev: null,
    host: host.origin,
    hostId: 1,
    signingKey: null,
    handle: null,
    attempts: 0,
  }
}

test('a writer that refuses a large repo at once ends its walk, archives nothing, and the thread goes on', async () => {
  const taken: number[] = []
  let isFirst = true
  await using pool = await openPool(async (_claim, chunks) => {
    if (isFirst) {
      isFirst = false
      return 'fenced'
    }
    for await (const chunk of chunks) if ('table' in chunk) taken.push(chunk.rows)
    return 'committed'
  })
  const fenced = await pool.indexRepo(claimed())
  expect(await fenced.written).toBe('fenced')
  expect(fenced.rows).toBeLessThan(records)
  expect(existsSync(archivePath(dir, did))).toBe(false)
  expect(await readdir(join(dir, 'unfinished'))).toEqual([])

  const indexed = await pool.indexRepo(claimed())
  expect(await indexed.written).toBe('committed')
  expect(taken.reduce((sum, rows) => sum + rows)).toBe(records)
  expect(existsSync(archivePath(dir, did))).toBe(true)
})

test('a writer that fails before it takes a chunk fails the repo with its error', async () => {
  await using pool = await openPool(() => Promise.reject(new RangeError('refused')))
  await expect(pool.indexRepo(claimed())).rejects.toThrow('refused')
})

test('a repo that finds no place for its temporary file gives its memory back', async () => {
  const budget = new MemoryBudget(64 * MiB)
  const spillDir = join(dir, 'no', 'such', 'folder')
  await using pool = await openPool(() => Promise.reject(new Error('walked')), {
    repoMemoryBytes: 100_000,
    spillDir,
    budget,
  })
  await expect(pool.indexRepo(claimed())).rejects.toMatchObject({ code: 'DiskFailed' })
  expect(budget.peakBytes).toBeGreaterThan(50_000)
  expect(budget.heldBytes).toBe(0)
})

test.each([
  ['small', 64 * MiB],
  ['large', 1024],
])('all bytes of a %s repo are told of before it is done', async (_name, largeRepoBytes) => {
  let fetched = 0
  const add = () => Promise.resolve('committed' as const)
  const addLarge: IndexPoolOptions['writer']['addLarge'] = async (_claim, chunks) => {
    for await (const chunk of chunks) if ('table' in chunk) chunk.release?.()
    return 'committed'
  }
  const onFetched = (bytes: number) => {
    fetched += bytes
  }
  await using pool = await openPool(addLarge, { largeRepoBytes, writer: { add, addLarge }, onFetched })
  await pool.indexRepo(claimed())
  expect(fetched).toBe(car.length)
})

/** The same CAR without the block of the last record. */
function cutCar(): Uint8Array {
  const { cid, bytes } = entries.at(-1) ?? {}
  if (cid === undefined || bytes === undefined) throw new Error('a record')
  const block = Buffer.concat([encodeVarint(cid.length + bytes.length), cid, bytes])
  const at = Buffer.from(car).indexOf(block)
  return Buffer.concat([car.subarray(0, at), car.subarray(at + block.length)])
}

test.each(['committed', 'fenced', 'refused', 'cut'] as const)(
  'the memory of a small repo that is %s is given back',
  async (end) => {
    const budget = new MemoryBudget(64 * MiB)
    const add = () => (end === 'refused' ? Promise.reject(new RangeError(end)) : Promise.resolve(end as WriteOutcome))
    const addLarge = () => Promise.reject(new Error('no repo is large here'))
    const pool = await openPool(addLarge, { largeRepoBytes: 64 * MiB, writer: { add, addLarge }, budget })
    served = end === 'cut' ? cutCar() : car
    const written = pool.indexRepo(claimed()).then((indexed) => indexed.written)
    if (end === 'cut') await expect(written).rejects.toMatchObject({ code: 'MissingBlock' })
    else if (end === 'refused') await expect(written).rejects.toThrow(end)
    else expect(await written).toBe(end)
    served = car
    await pool.close()
    expect(budget.peakBytes).toBeGreaterThan(car.length)
    expect(budget.heldBytes).toBe(0)
  },
)

test('a thread that breaks ends its repos, and what is written of them', async () => {
  const breaking = `
    const { parentPort } = require('node:worker_threads')
    parentPort.once('message', ([{ task }]) => {
      parentPort.postMessage([{ kind: 'large', task }])
      setImmediate(() => { throw new RangeError('no memory is left') })
    })`
  const endings: unknown[] = []
  const addLarge: IndexPoolOptions['writer']['addLarge'] = async (_claim, chunks) => {
    try {
      for await (const _ of chunks);
      return 'committed'
    } catch (error) {
      endings.push(error)
      throw error
    }
  }
  await using pool = await openPool(addLarge, { first: new Worker(breaking, { eval: true }) })
  await expect(pool.indexRepo(claimed())).rejects.toThrow('no memory is left')
  await expect.poll(() => endings).toMatchObject([{ message: 'no memory is left' }])
  await expect(pool.indexRepo(claimed())).rejects.toThrow('no memory is left')
}, 20_000)
