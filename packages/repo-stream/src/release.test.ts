// What a load holds (budget, source, temporary file) is given back however it ends.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { allChunks, CountingBudget, pieces } from '../fixtures/driving.ts'
import { buildRepo, generateRecords, makeDid, makeSigningKey } from '../fixtures/index.ts'
import { openFiles } from '../fixtures/open-files.ts'
import { rawCar, rawNode, rawRecord } from '../fixtures/raw-repo.ts'
import {
  type CarSource,
  type DiskCar,
  type LoadedCar,
  type LoadOptions,
  loadCar,
  openDiskStore,
  spillPath,
  walkRepo,
} from './index.ts'

const dir = mkdtempSync(join(tmpdir(), 'repo-stream-release-'))
const repo = buildRepo({
  did: makeDid('release'),
  signingKey: makeSigningKey('release'),
  records: generateRecords({ seed: 'release', count: 3000 }),
})

afterAll(() => rmSync(dir, { recursive: true }))

describe('a suspended load', () => {
  test('whose store cannot be opened gives back what it holds, and its source', async () => {
    const budget = new CountingBudget()
    const source = new Watched(repo.car)
    const car = await suspended(source, { budget })
    expect(budget.held).toBeGreaterThan(0)
    const openStore = () => openDiskStore(join(dir, 'no', 'such', 'folder'))
    await expect(car.finishLoading(openStore)).rejects.toMatchObject({ code: 'DiskFailed' })
    expect([budget.held, source.cancelled]).toEqual([0, true])
  })

  test.each(['stream', 'buffer'] as const)('whose commit is bad closes its store (%s)', async (preorder) => {
    const record = rawRecord({ text: 'x'.repeat(100_000) })
    const car = rawCar(rawNode([{ key: 'a.b.c/d', value: record }]), [record], { rev: 'bad' })
    for (const isGivenOpen of [true, false]) {
      const loaded = await suspended(pieces(car, 4000), { preorder })
      const finished = loaded.finishLoading(isGivenOpen ? await openStore() : openStore)
      await expect(finished).rejects.toMatchObject({ code: 'CommitInvalid' })
      expect(openFiles(dir)).toEqual([])
    }
  })

  test('that was discarded opens no store, and closes one that it is given', async () => {
    const car = await suspended(repo.car)
    await car.discard()
    for (const store of [await openStore(), () => Promise.reject(new Error('opened'))]) {
      await expect(car.finishLoading(store)).rejects.toMatchObject({ code: 'Closed' })
      expect(openFiles(dir)).toEqual([])
    }
  })
})

describe('a load that is closed during a call ends it with Closed and holds nothing', () => {
  test.each([1, 2, 3, 4, 5])('when chunk %i has come that the load has not heard of', async (at) => {
    const budget = new CountingBudget()
    const list = pieces(repo.toCar('preorder'), 100_000)
    let close: (() => Promise<void>) | undefined
    let given = 0
    const next = (): Promise<IteratorResult<Uint8Array>> => {
      const arriving = Promise.resolve(list.next())
      if (close !== undefined && ++given === at) void arriving.then(() => undefined).then(close)
      return arriving
    }
    const source: AsyncIterable<Uint8Array> = { [Symbol.asyncIterator]: () => ({ next }) }
    const { driver } = await inMemory(source, { memoryLimitBytes: 300_000, budget, freeOnClose: true })
    close = () => driver.close()
    await expect(allChunks(driver, 1000)).rejects.toMatchObject({ code: 'Closed' })
    expect([budget.held, openFiles(dir)]).toEqual([0, []])
  })

  test('while it waits for a store', async () => {
    let open = (): void => {}
    const opened = new Promise<void>((resolve) => {
      open = resolve
    })
    const { driver } = await inMemory(pieces(repo.toCar('preorder'), 5000), {
      memoryLimitBytes: 100_000,
      openStore: () => opened.then(openStore),
    })
    const walked = allChunks(driver, 1000)
    setTimeout(() => void driver.close().then(open), 1)
    await expect(walked).rejects.toMatchObject({ code: 'Closed' })
    expect(openFiles(dir)).toEqual([])
  })

  test.each([
    ['in memory', 2 ** 30],
    ['on disk', 100_000],
  ])('in a turn of the event loop, %s', async (_, memoryLimitBytes) => {
    const source = pieces(repo.toCar('preorder'), 100)
    const { driver } = await inMemory(source, { memoryLimitBytes, freeOnClose: true })
    const walked = allChunks(driver, 1000)
    setImmediate(() => void driver.close())
    await expect(walked).rejects.toMatchObject({ code: 'Closed' })
    expect(openFiles(dir)).toEqual([])
  })

  test.each([
    ['at once', (discard: () => void) => discard()],
    ['in a turn of the event loop', setImmediate],
    ['in between', process.nextTick],
  ])('when it was suspended and is discarded %s', async (_, soon) => {
    const budget = new CountingBudget()
    const car = await suspended(pieces(repo.toCar('digest'), 100), { budget })
    const finished = car.finishLoading(await openStore())
    soon(() => void car.discard())
    await expect(finished).rejects.toMatchObject({ code: 'Closed' })
    expect([budget.held, openFiles(dir)]).toEqual([0, []])
  })
})

describe('an abort between two calls', () => {
  test.each([
    ['in memory', 2 ** 30, 'pds'],
    ['on disk', 100_000, 'pds'],
    ['streaming', 2 ** 30, 'preorder'],
    ['streaming on disk', 100_000, 'preorder'],
  ] as const)(
    'ends a walk %s at the next chunk, for good, and frees everything',
    async (_, memoryLimitBytes, order) => {
      const abort = new AbortController()
      const source = new Watched(repo.toCar(order))
      const [budget, disk] = [new CountingBudget(), new CountingBudget()]
      const open = () => openDiskStore(spillPath(dir), { budget: disk })
      const options = { memoryLimitBytes, budget, signal: abort.signal, openStore: open }
      const car = await loadCar(source, options)
      const { driver } = car.kind === 'memory' ? car : await car.finishLoading(open)
      for (let records = 0; records < 1500; ) records += (await driver.nextChunk(1000))?.length ?? Number.NaN
      expect(openFiles(dir)).toHaveLength(memoryLimitBytes === 100_000 ? 1 : 0)
      abort.abort(new Error('enough'))
      await expect(driver.nextChunk(1000)).rejects.toThrow('enough')
      expect([budget.held, disk.held, source.cancelled, openFiles(dir)]).toEqual([0, 0, true, []])
      await expect(driver.nextChunk(1000)).rejects.toThrow('enough')
      await driver.close()
    },
  )

  test.each(['stream', 'buffer'] as const)('ends a suspended load that goes on (%s)', async (preorder) => {
    const abort = new AbortController()
    const budget = new CountingBudget()
    const source = new Watched(repo.toCar('preorder'))
    const car = await suspended(source, { preorder, budget, signal: abort.signal })
    abort.abort(new Error('enough'))
    await expect(car.finishLoading(openStore)).rejects.toThrow('enough')
    expect([budget.held, source.cancelled, openFiles(dir)]).toEqual([0, true, []])
  })

  test('ends the loop of `walkRepo`', async () => {
    const abort = new AbortController()
    let chunks = 0
    const walk = async (): Promise<void> => {
      for await (const _ of walkRepo(repo.car, { spillDir: dir, signal: abort.signal })) {
        chunks++
        abort.abort(new Error('enough'))
      }
    }
    await expect(walk()).rejects.toThrow('enough')
    expect(chunks).toBe(1)
  })
})

async function inMemory(source: CarSource, options: LoadOptions): Promise<LoadedCar> {
  const car = await loadCar(source, { openStore, ...options })
  if (car.kind !== 'memory') throw new Error('the load was suspended')
  return car
}

async function suspended(source: CarSource, options: LoadOptions = {}): Promise<DiskCar> {
  const car = await loadCar(source, { memoryLimitBytes: 60_000, ...options })
  if (car.kind !== 'disk') throw new Error('the load was not suspended')
  return car
}

function openStore(): ReturnType<typeof openDiskStore> {
  return openDiskStore(spillPath(dir))
}

/** Gives the bytes in pieces of 10 kB, and knows when it was told that no more is wanted. */
class Watched implements AsyncIterable<Uint8Array> {
  cancelled = false
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    try {
      yield* pieces(this.#bytes, 10_000)
    } finally {
      this.cancelled = true
    }
  }
}
