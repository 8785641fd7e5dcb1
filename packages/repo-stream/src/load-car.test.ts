// Loading and walking in memory: chunkings, the processor, the budget, and the life of a driver.
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { allChunks, asText, CountingBudget, pieces, walkAll } from '../fixtures/driving.ts'
import { buildRepo, generateRecords, keyHeight, makeDid, makeSigningKey } from '../fixtures/index.ts'
import { rawCar, rawNode, rawRecord } from '../fixtures/raw-repo.ts'
import { loadCar, type MemoryCar, RepoStreamError } from './index.ts'

const samples = fileURLToPath(new URL('../../../../shared/samples/', import.meta.url))
const repo = buildRepo({
  did: makeDid('load'),
  signingKey: makeSigningKey('load'),
  records: generateRecords({ seed: 'load', count: 300 }),
})

describe('the samples', () => {
  test.for([
    ['empty.car', 0, 0],
    ['tiny.car', 8, 2071],
    ['little.car', 278, 246_960],
  ] as const)('%s has %i records of %i bytes', async ([name, records, bytes], { skip }) => {
    if (!existsSync(samples + name)) skip('the samples are not there')
    const entries = await walkAll(Uint8Array.from(readFileSync(samples + name)))
    expect(entries).toHaveLength(records)
    expect(entries.reduce((sum, { data }) => sum + data.length, 0)).toBe(bytes)
  })
})

describe('what comes out', () => {
  test('every key with its record, in key order', async () => {
    const entries = await walkAll(repo.car)
    expect(entries.map(({ key }) => key)).toEqual(repo.entries.map(({ key }) => key))
    for (const [i, { key, collection, rkey, cid, data, error }] of entries.entries()) {
      expect(`${collection}/${rkey}`).toBe(key)
      expect(Buffer.from(cid)).toEqual(Buffer.from(repo.entries[i]?.cid ?? []))
      expect(Buffer.from(data)).toEqual(Buffer.from(repo.entries[i]?.bytes ?? []))
      expect(error).toBeUndefined()
    }
  })

  test.each([1, 2, 7, 36, 4096, 65_536, 1 << 20])('the same in pieces of %i bytes', async (bytes) => {
    expect(asText(await walkAll(pieces(repo.car, bytes)))).toEqual(asText(await walkAll(repo.car)))
  })

  test('the same from an async source, with empty chunks, in chunks of any number of entries', async () => {
    async function* source(): AsyncGenerator<Uint8Array> {
      for (const piece of pieces(repo.car, 5000)) {
        yield new Uint8Array(0)
        yield piece
        piece.fill(0) // a source may use its buffer again
      }
    }
    for (const max of [1, 3, 299, 300, 301, Number.POSITIVE_INFINITY]) {
      const { driver } = await inMemory(loadCar(source()))
      const chunks = await allChunks(driver, max)
      expect(chunks.every((chunk) => chunk.length > 0 && chunk.length <= max)).toBe(true)
      expect(asText(chunks.flat())).toEqual(asText(await walkAll(repo.car)))
    }
  })

  test.each([1, 7, 100, 5000, 300_000])(
    'the same when each piece of %i bytes is written over the one before',
    async (bytes) => {
      const buffer = new Uint8Array(bytes)
      function* source(): Generator<Uint8Array> {
        for (const piece of pieces(repo.car, bytes)) {
          buffer.fill(0)
          buffer.set(piece)
          yield buffer.subarray(0, piece.length)
        }
      }
      for (const process of [undefined, (block: Uint8Array) => block])
        expect(asText(await walkAll(source(), { process }))).toEqual(asText(await walkAll(repo.car)))
    },
  )

  test('the same from a web stream', async () => {
    const stream = new ReadableStream<Uint8Array>({
      start(controller) {
        for (const piece of pieces(repo.car, 999)) controller.enqueue(piece)
        controller.close()
      },
    })
    expect(asText(await walkAll(stream))).toEqual(asText(await walkAll(repo.car)))
  })

  test('the commit, decoded', async () => {
    const { commit, driver } = await inMemory(loadCar(repo.car))
    await driver.close()
    expect(commit).toMatchObject({ did: repo.did, version: 3, rev: repo.rev, prev: null })
    expect(Buffer.from(commit.cid)).toEqual(Buffer.from(repo.commit))
    expect(Buffer.from(commit.data)).toEqual(Buffer.from(repo.data))
  })

  test.each([
    ['given in pieces', () => pieces(repo.car, 10_000), undefined],
    ['processed', () => pieces(repo.car, 10_000), (block: Uint8Array) => block],
  ])("the memory of a CAR %s is the next one's at once with `freeOnClose`", async (_, source, process) => {
    const memory = async (): Promise<Set<ArrayBufferLike>> => {
      const { driver } = (await loadCar(source(), { process, freeOnClose: true })) as MemoryCar
      const buffers = (await allChunks(driver, 100)).flat().map(({ data }) => data.buffer)
      await driver.close()
      return new Set(buffers)
    }
    const first = await memory()
    const second = await memory()
    expect(first.size).toBeGreaterThan(1)
    expect(second.size).toBe(first.size)
    expect([...second].every((buffer) => first.has(buffer))).toBe(true)
  })

  test('a CAR given whole stays with its owner', async () => {
    const car = Uint8Array.from(repo.car)
    const { driver } = (await loadCar(car, { freeOnClose: true })) as MemoryCar
    await driver.close()
    expect(Buffer.compare(car, repo.car)).toBe(0)
  })

  test('entries stay valid after the driver is closed', async () => {
    const { driver } = await inMemory(loadCar(pieces(repo.car, 1000)))
    const chunks = await allChunks(driver, 50)
    await driver.close()
    expect(asText(chunks.flat())).toEqual(asText(await walkAll(repo.car)))
  })

  test('one block under many keys, and blocks that are sent twice', async () => {
    const record = rawRecord({ $type: 'a.b.c', n: 1 })
    const root = rawNode(leafKeys(3).map((key) => ({ key, value: record })))
    const entries = await walkAll(rawCar(root, [record, record, root]))
    expect(entries.map(({ key }) => key)).toEqual(leafKeys(3))
    for (const { data } of entries) expect(Buffer.from(data)).toEqual(Buffer.from(record.bytes))
  })

  test('below an entry-less root, whose depth follows from the first key', async () => {
    const record = rawRecord({})
    const leaf = rawNode(leafKeys(1).map((key) => ({ key, value: record })))
    const entries = await walkAll(rawCar(rawNode([], rawNode([], leaf)), [rawNode([], leaf), leaf, record]))
    expect(entries.map(({ key }) => key)).toEqual(leafKeys(1))
  })
})

describe('process', () => {
  test('makes records smaller, may reuse its buffer, and never sees a node or the commit', async () => {
    const scratch = new Uint8Array(8)
    const seen = new Set<string>()
    const entries = await walkAll(repo.car, {
      process: (block, digest, { memory, from, to }) => {
        expect(memory.bytes.subarray(from, to)).toEqual(block)
        expect(memory.view.getUint8(to - 1)).toBe(block.at(-1))
        seen.add(Buffer.from(digest).toString('hex'))
        new DataView(scratch.buffer).setFloat64(0, block.length)
        return scratch
      },
    })
    const lengths = entries.map(({ data }) => new DataView(data.buffer, data.byteOffset).getFloat64(0))
    expect(lengths).toEqual(repo.entries.map(({ bytes }) => bytes.length))
    expect(seen).toEqual(new Set(repo.entries.map(({ cid }) => Buffer.from(cid.subarray(4)).toString('hex'))))
  })

  test('what it throws surfaces on the entries of that record, with the raw bytes', async () => {
    const bad = repo.entries[17]
    const thrown = new RepoStreamError('RecordInvalid', 'not mine')
    const entries = await walkAll(repo.car, {
      process: (block, digest) => {
        if (bad && Buffer.compare(digest, bad.cid.subarray(4)) === 0) throw thrown
        return block.subarray(0, 1)
      },
    })
    expect(entries).toHaveLength(repo.entries.length)
    for (const { key, data, error } of entries) {
      const isBad = key === bad?.key
      expect(error).toBe(isBad ? thrown : undefined)
      expect(data.length).toBe(isBad ? bad?.bytes.length : 1)
    }
  })

  test('a record that looks like a node is processed when the walk finds it to be a record', async () => {
    const lookalike = rawRecord({ e: [], l: 'not a node' })
    const [key = ''] = leafKeys(1)
    const car = rawCar(rawNode([{ key, value: lookalike }]), [lookalike])
    const [entry] = await walkAll(car, { process: (block) => block.subarray(0, 2) })
    expect(Buffer.from(entry?.data ?? [])).toEqual(Buffer.from(lookalike.bytes.subarray(0, 2)))
    const [failed] = await walkAll(car, {
      process: () => {
        throw new TypeError('no')
      },
    })
    expect(failed?.error).toBeInstanceOf(TypeError)
    expect(failed?.data.length).toBe(lookalike.bytes.length)
  })
})

describe('a budget', () => {
  test('is asked before memory is held and gets all of it back', async () => {
    for (const process of [undefined, (block: Uint8Array) => block.subarray(0, 9)]) {
      const budget = new CountingBudget()
      const { driver } = await inMemory(loadCar(pieces(repo.car, 3000), { budget, process }))
      expect(budget.held).toBeGreaterThan(process ? 9 * 300 : repo.car.length)
      await allChunks(driver, 10)
      await driver.close()
      await driver.close()
      expect(budget.held).toBe(0)
    }
  })

  test('that refuses suspends the load, and gets its memory back when that is discarded', async () => {
    const budget = new CountingBudget(20_000)
    const car = await loadCar(pieces(repo.car, 1000), { budget })
    expect(car.kind).toBe('disk')
    expect(budget.held).toBeGreaterThan(0)
    if (car.kind === 'disk') await car.discard()
    expect(budget.held).toBe(0)
  })

  test('gets its memory back after an error', async () => {
    const budget = new CountingBudget()
    const flipped = Uint8Array.from(repo.car)
    flipped[flipped.length - 5] = (flipped[flipped.length - 5] ?? 0) ^ 1
    await expect(loadCar(pieces(flipped, 1000), { budget })).rejects.toMatchObject({ code: 'BlockHashMismatch' })
    expect(budget.held).toBe(0)
  })
})

describe('a driver', () => {
  test('gives what it gives alone beside others, and after walks that were closed anywhere, even twice', async () => {
    const other = buildRepo({
      did: makeDid('other'),
      signingKey: makeSigningKey('other'),
      records: generateRecords({ seed: 'other', count: 200 }),
    })
    const cars = [repo.car, other.car]
    const alone = [asText(await walkAll(repo.car)), asText(await walkAll(other.car))]
    for (const stopAfter of [0, 1, 57, 150]) {
      const { driver: early } = await inMemory(loadCar(repo.car))
      if (stopAfter > 0) await early.nextChunk(stopAfter)
      await early.close()
      const drivers = await Promise.all(cars.map(async (car) => (await inMemory(loadCar(car))).driver))
      const given: string[][] = [[], []]
      for (let more = true; more; ) {
        more = false
        for (const [i, driver] of drivers.entries()) {
          const chunk = await driver.nextChunk(7)
          if (chunk !== undefined) more = true
          given[i]?.push(...asText(chunk ?? []))
        }
        await early.close()
      }
      for (const driver of drivers) await driver.close()
      expect(given).toEqual(alone)
    }
  })

  test('gives what it gives alone when the pieces of two loads come by turns', async () => {
    const other = buildRepo({
      did: makeDid('turns'),
      signingKey: makeSigningKey('turns'),
      records: generateRecords({ seed: 'turns', count: 200 }),
    })
    async function* source(car: Uint8Array): AsyncGenerator<Uint8Array> {
      yield* pieces(car, 1000)
    }
    const cars = [repo.car, other.car]
    const together = await Promise.all(cars.map((car) => walkAll(source(car))))
    for (const [i, car] of cars.entries()) expect(asText(together[i] ?? [])).toEqual(asText(await walkAll(car)))
  })

  test('gives keys that end anywhere in the memory that they are written to', async () => {
    for (let length = 1; length <= 16; length++) {
      const keys = [`a.b.c/${'-'.repeat(length)}`, ...Array.from({ length: 900 }, (_, i) => `a.b.c/k${1000 + i}`)]
      const records = keys.map((key) => ({ key, value: {} }))
      const { car } = buildRepo({ did: makeDid('keys'), signingKey: makeSigningKey('keys'), records })
      expect((await walkAll(car)).map(({ key }) => key)).toEqual(keys)
    }
  })

  test('gives short keys with long ones between them, whatever memory they are checked in', async () => {
    const keys = Array.from({ length: 4_000 }, (_, i) => `a.b.c/k${1000 + i}${i % 3 === 0 ? '' : 'x'.repeat(1_000)}`)
    const records = keys.map((key) => ({ key, value: {} }))
    const { car } = buildRepo({ did: makeDid('keys'), signingKey: makeSigningKey('keys'), records })
    expect((await walkAll(car)).map(({ key }) => key)).toEqual(keys)
  })

  test('is asked for one chunk at a time', async () => {
    const { driver } = await inMemory(loadCar(repo.car))
    const first = driver.nextChunk(10)
    await expect(driver.nextChunk(10)).rejects.toMatchObject({ code: 'Closed' })
    expect(await first).toHaveLength(10)
  })

  test('refuses when it is closed, and a number of entries below one', async () => {
    const { driver } = await inMemory(loadCar(repo.car))
    await expect(driver.nextChunk(0)).rejects.toBeInstanceOf(TypeError)
    await driver.close()
    await expect(driver.nextChunk(1)).rejects.toMatchObject({ code: 'Closed' })
  })

  test('that is closed while a chunk is waited for says so, whatever the source does', async () => {
    async function* source(): AsyncGenerator<Uint8Array> {
      yield repo.toCar('preorder').subarray(0, 5000)
      await new Promise(() => {})
    }
    const { driver } = await inMemory(loadCar(source(), { openStore: () => Promise.reject(new Error('opened')) }))
    const given = await driver.nextChunk(1000)
    const pending = driver.nextChunk(1000)
    setTimeout(() => void driver.close(), 1)
    await expect(pending).rejects.toMatchObject({ code: 'Closed' })
    expect(given?.length).toBeGreaterThan(0)
  })

  test('throws its error again', async () => {
    const car = rawCar(rawNode(leafKeys(1).map((key) => ({ key, value: rawRecord({}) }))), [])
    const { driver } = await inMemory(loadCar(car))
    for (let i = 0; i < 2; i++) await expect(driver.nextChunk(1)).rejects.toMatchObject({ code: 'MissingBlock' })
  })

  test('says undefined at the end, as often as it is asked', async () => {
    const { driver } = await inMemory(loadCar(repo.car))
    expect(await allChunks(driver, 1000)).toHaveLength(1)
    expect(await driver.nextChunk(1)).toBeUndefined()
    expect(driver.streaming).toBe(false)
  })
})

async function inMemory(loading: ReturnType<typeof loadCar>): Promise<MemoryCar> {
  const car = await loading
  if (car.kind !== 'memory') throw new Error('the load was suspended')
  return car
}

/** The first `count` keys of a made-up collection that belong into a leaf. */
function leafKeys(count: number): string[] {
  const keys = Array.from({ length: 99 }, (_, i) => `a.b.c/${i + 100}`)
  return keys.filter((key) => keyHeight(key) === 0).slice(0, count)
}
