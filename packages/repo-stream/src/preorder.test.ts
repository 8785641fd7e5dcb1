// CARs in preorder (sync v1.1): records come out while bytes come in, memory stays bounded, and a broken order loses nothing.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { allChunks, asText, CountingBudget, pieces, walkAll } from '../fixtures/driving.ts'
import { buildRepo, type CarBlock, generateRecords, makeDid, makeSigningKey, writeCar } from '../fixtures/index.ts'
import { type Entry, loadCar, openDiskStore, spillPath, walkRepo } from './index.ts'

const dir = mkdtempSync(join(tmpdir(), 'repo-stream-preorder-'))
const repo = buildRepo({
  did: makeDid('preorder'),
  signingKey: makeSigningKey('preorder'),
  records: generateRecords({ seed: 'preorder', count: 9000, repeats: 0.05 }),
})
const car = repo.toCar('preorder')
const expected = asText(repo.entries.map(({ key, cid, bytes }) => ({ key, cid, data: bytes })))

afterAll(() => rmSync(dir, { recursive: true }))

test('walkRepo gives the first records before the last bytes are in', async () => {
  const source = new Metered(car)
  const firstAt: number[] = []
  const entries: Entry[] = []
  for await (const chunk of walkRepo(source, { spillDir: dir })) {
    firstAt.push(source.givenBytes)
    entries.push(...chunk)
  }
  expect(firstAt[0]).toBeLessThan(20_000)
  expect(asText(entries)).toEqual(expected)
})

test('the driver says that it is streaming until the last bytes are in', async () => {
  const loaded = await loadCar(new Metered(car), { openStore: () => openDiskStore(spillPath(dir)) })
  if (loaded.kind !== 'memory') throw new Error('the load was suspended')
  expect(loaded.driver.streaming).toBe(true)
  expect(asText((await allChunks(loaded.driver, 100)).flat())).toEqual(expected)
  expect(loaded.driver.streaming).toBe(false)
  await loaded.driver.close()
})

test('without a store at hand, bytes are held up to the limit, then the disk driver streams', async () => {
  const source = new Metered(car)
  const loaded = await loadCar(source, { memoryLimitBytes: 200_000 })
  if (loaded.kind !== 'disk') throw new Error('the load was not suspended')
  const { driver } = await loaded.finishLoading(await openDiskStore(spillPath(dir)))
  expect(driver.streaming).toBe(true)
  const [first = []] = [await driver.nextChunk(10)]
  expect(source.givenBytes).toBeLessThan(400_000)
  expect(asText([...first, ...(await allChunks(driver, 100)).flat()])).toEqual(expected)
  await driver.close()
})

test('preorder: buffer gives a driver only when everything is in', async () => {
  const source = new Metered(car)
  const loaded = await loadCar(source, { preorder: 'buffer', openStore: () => openDiskStore(spillPath(dir)) })
  if (loaded.kind !== 'memory') throw new Error('the load was suspended')
  expect(source.givenBytes).toBe(car.length)
  expect(loaded.driver.streaming).toBe(false)
  await loaded.driver.close()
})

test('memory stays below the limit and what a spilled walk needs, whatever the size', async () => {
  const budget = new CountingBudget()
  const options = { spillDir: dir, memoryLimitBytes: 400_000, store: { cacheBytes: 200_000 }, budget }
  let records = 0
  for await (const chunk of walkRepo(pieces(car, 16_384), options)) records += chunk.length
  expect(records).toBe(repo.entries.length)
  expect(budget.most).toBeLessThan(1_000_000)
  expect(budget.held).toBe(0)
})

test('memory is the same for a repo of thrice the size, its index included', async () => {
  const small = buildRepo({
    did: makeDid('preorder'),
    signingKey: makeSigningKey('preorder'),
    records: generateRecords({ seed: 'preorder', count: 3000, repeats: 0.05 }),
  })
  const mostHeld = async (bytes: Uint8Array): Promise<number> => {
    const budget = new CountingBudget()
    const options = { spillDir: dir, memoryLimitBytes: 100_000, store: { cacheBytes: 65_536 }, budget }
    for await (const chunk of walkRepo(pieces(bytes, 4096), options)) expect(chunk.length).toBeGreaterThan(0)
    return budget.most
  }
  // the whole index of the large one would take 128 KiB
  expect(await mostHeld(car)).toBeLessThan((await mostHeld(small.toCar('preorder'))) + 4096)
})

test('a record that stands under the first key and the last comes out under both when the index has gone to disk', async () => {
  const keys = [...Array(6000).keys()].map((i) => `a.b.c/${String(i).padStart(5, '0')}`)
  const records = keys.map((key, i) => ({ key, value: { n: i % 3000 } }))
  const shared = buildRepo({ did: repo.did, signingKey: makeSigningKey('s'), records })
  const entries: Entry[] = []
  for await (const chunk of walkRepo(pieces(shared.toCar('preorder'), 500), {
    spillDir: dir,
    memoryLimitBytes: 20_000,
  })) {
    entries.push(...chunk)
  }
  expect(asText(entries)).toEqual(asText(shared.entries.map(({ key, cid, bytes }) => ({ key, cid, data: bytes }))))
})

test('records that stand under several keys come out under each, also when they have been spilled', async () => {
  const keys = [...Array(3000).keys()].map((i) => `a.b.c/${String(i).padStart(5, '0')}`)
  const records = keys.map((key, i) => ({ key, value: { n: i % 7, text: 'x'.repeat(400) } }))
  const shared = buildRepo({ did: repo.did, signingKey: makeSigningKey('s'), records })
  const entries: Entry[] = []
  const process = (block: Uint8Array) => block.subarray(0, 100)
  for await (const chunk of walkRepo(pieces(shared.toCar('preorder'), 500), {
    spillDir: dir,
    memoryLimitBytes: 20_000,
    process,
  })) {
    entries.push(...chunk)
  }
  expect(entries.map(({ key }) => key)).toEqual(keys)
  expect(entries.map(({ data }) => data[data.indexOf(0x6e, 1) + 1])).toEqual(keys.map((_, i) => i % 7))
})

test('an order that breaks anywhere falls back to buffering, with nothing lost or repeated', async () => {
  const blocks = [...repo.carBlocks('preorder')]
  for (const [from, to] of [
    [2, 3],
    [5, 900],
    [4000, 6000],
    [3, blocks.length - 1],
    [blocks.length - 30, blocks.length - 1],
  ] as const) {
    const broken = writeCar([repo.commit], moved(blocks, from, to))
    for (const memoryLimitBytes of [undefined, 150_000]) {
      const entries: Entry[] = []
      for await (const chunk of walkRepo(pieces(broken, 10_000), { spillDir: dir, memoryLimitBytes }))
        entries.push(...chunk)
      expect(asText(entries)).toEqual(expected)
    }
  }
})

test('a repo whose first nodes come last has its index back from the disk, and gives every record', async () => {
  const mostHeld = async (bytes: Uint8Array): Promise<number> => {
    const budget = new CountingBudget()
    const options = { spillDir: dir, memoryLimitBytes: 100_000, store: { cacheBytes: 65_536 }, budget }
    const entries: Entry[] = []
    for await (const chunk of walkRepo(pieces(bytes, 4096), options)) entries.push(...chunk)
    expect(asText(entries)).toEqual(expected)
    expect(budget.held).toBe(0)
    return budget.most
  }
  const blocks = [...repo.carBlocks('preorder')]
  const lateStart = writeCar([repo.commit], [...blocks.slice(0, 3), ...blocks.slice(200), ...blocks.slice(3, 200)])
  const indexBytes = 8 * 16_384 // of 11,800 blocks
  expect(await mostHeld(lateStart)).toBeGreaterThan((await mostHeld(car)) + indexBytes / 2)
})

test('a download that ends early is an error after the records before it', async () => {
  const blocks = [...repo.carBlocks('preorder')]
  const cut = writeCar([repo.commit], blocks.slice(0, 5000))
  for (const [bytes, code] of [
    [cut, 'MissingBlock'],
    [car.subarray(0, 900_001), 'CarTruncated'],
  ] as const) {
    let records = 0
    const walk = async (): Promise<void> => {
      for await (const chunk of walkRepo(pieces(bytes, 10_000), { spillDir: dir })) records += chunk.length
    }
    await expect(walk()).rejects.toMatchObject({ code })
    expect(records).toBeGreaterThan(1000)
  }
})

test('what follows the last record is checked too', async () => {
  const tail = Uint8Array.from(car)
  const walk = async (): Promise<void> => {
    for await (const _ of walkRepo([tail, Uint8Array.of(5, 1, 2, 3, 4, 5)], { spillDir: dir })) {
      // only to get to the end
    }
  }
  await expect(walk()).rejects.toMatchObject({ code: 'SectionInvalid' })
})

test('no store is opened for a walk that fits into memory', async () => {
  const openStore = () => Promise.reject(new Error('opened'))
  const loaded = await loadCar(pieces(car, 5000), { openStore })
  if (loaded.kind !== 'memory') throw new Error('the load was suspended')
  expect((await allChunks(loaded.driver, 1000)).flat()).toHaveLength(repo.entries.length)
  await loaded.driver.close()
  expect(readdirSync(dir)).toEqual([])
  expect(asText(await walkAll(car))).toEqual(expected)
})

/** Gives the bytes in pieces of 8 KiB, and counts them. */
class Metered implements AsyncIterable<Uint8Array> {
  givenBytes = 0
  readonly #bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (const piece of pieces(this.#bytes, 8192)) {
      this.givenBytes += piece.length
      yield piece
    }
  }
}

function moved(blocks: readonly CarBlock[], from: number, to: number): CarBlock[] {
  const changed = [...blocks]
  changed.splice(to, 0, ...changed.splice(from, 1))
  return changed
}
