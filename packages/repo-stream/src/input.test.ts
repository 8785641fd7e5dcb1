// What a source may do: hang, fail, be ready always, be of any kind.
import { getEventListeners } from 'node:events'
import { totalmem } from 'node:os'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { asText, CountingBudget, pieces, walkAll } from '../fixtures/driving.ts'
import { buildRepo, generateRecords, makeDid, makeSigningKey } from '../fixtures/index.ts'
import { rawRecord } from '../fixtures/raw-repo.ts'
import { encodeVarint } from '../fixtures/write-car.ts'
import { type CarSource, loadCar } from './index.ts'

const repo = buildRepo({
  did: makeDid('input'),
  signingKey: makeSigningKey('input'),
  records: generateRecords({ seed: 'input', count: 300 }),
})
/** An endless source that gets no turn gives up after several turns' worth, so that the test ends. */
const giveUpBytes = 64 * 1024 * 1024

describe('a source', () => {
  test('that hangs is left at once when the signal aborts', async () => {
    const abort = new AbortController()
    let cancelled = false
    const source: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise(() => {}),
        return: () => {
          cancelled = true
          return new Promise(() => {})
        },
      }),
    }
    const loading = loadCar(source, { signal: abort.signal })
    setTimeout(() => abort.abort(new Error('enough')), 5)
    await expect(loading).rejects.toThrow('enough')
    expect(cancelled).toBe(true)
  })

  test('that fails to stop is left alone', async () => {
    const chunks = [repo.car.subarray(0, 100), Uint8Array.of(1)]
    const source: AsyncIterable<Uint8Array> = {
      [Symbol.asyncIterator]: () => ({
        next: async () => ({ done: false, value: chunks.shift() ?? Uint8Array.of(0xff) }),
        return: () => Promise.reject(new Error('it does not stop')),
      }),
    }
    const unhandled: unknown[] = []
    const note = (reason: unknown): void => void unhandled.push(reason)
    process.on('unhandledRejection', note)
    await expect(loadCar(source)).rejects.toMatchObject({ name: 'RepoStreamError' })
    await new Promise((resolve) => setImmediate(resolve))
    process.off('unhandledRejection', note)
    expect(unhandled).toEqual([])
  })

  test('is forgotten by the signal when its load has ended, well or not', async () => {
    const { signal } = new AbortController()
    await walkAll(pieces(repo.car, 10_000), { signal })
    await expect(loadCar(pieces(repo.car.subarray(1), 10_000), { signal })).rejects.toThrow()
    expect(getEventListeners(signal, 'abort')).toEqual([])
  })

  test('that fails rejects the load with its own error', async () => {
    async function* source(): AsyncGenerator<Uint8Array> {
      yield repo.car.subarray(0, 100)
      throw new Error('connection reset')
    }
    await expect(loadCar(source())).rejects.toThrow('connection reset')
  })

  test('is not read when the signal was aborted before', async () => {
    const signal = AbortSignal.abort(new Error('before'))
    await expect(loadCar(repo.car, { signal })).rejects.toThrow('before')
  })

  test.each([
    ['bytes', () => endless()],
    ['empty chunks', () => endless(new Uint8Array(0))],
    ['promises of bytes', () => asAsync(endless())],
    ['promises of empty chunks', () => asAsync(endless(new Uint8Array(0)))],
    ['a web stream', () => asStream(endless())],
  ])('that always has %s ready does not keep the event loop from aborting', async (_, source) => {
    const abort = new AbortController()
    setImmediate(() => abort.abort(new Error('aborted')))
    await expect(loadCar(source(), { signal: abort.signal, memoryLimitBytes: 2 ** 31 })).rejects.toThrow('aborted')
  })

  test.each([
    ['of objects that are only like promises', () => thenables()],
    ['of promises of another realm', () => fromAnotherRealm()],
    ['of results that are no promises', () => ({ [Symbol.asyncIterator]: () => list() }) as unknown as CarSource],
  ])('may be an async iterator %s', async (_, source) => {
    expect(asText(await walkAll(source()))).toEqual(asText(await walkAll(repo.car)))
  })

  test('that cannot be read costs the budget nothing', async () => {
    const locked = new ReadableStream<Uint8Array>()
    locked.getReader()
    const budget = new CountingBudget()
    await expect(loadCar(locked, { budget })).rejects.toThrow('locked')
    expect(budget.held).toBe(0)
  })

  test('of more bytes than memory has addresses for is suspended, whatever the limit', async ({ skip }) => {
    if (totalmem() < 2 ** 33) skip('the system may not promise 4 GiB')
    const car = new Uint8Array(2 ** 32 + 2 ** 22) // of which the system gives only the pages that are written to
    let at = repo.car.length
    car.set(repo.car)
    const { cid } = rawRecord({})
    for (let i = 0; at < 2 ** 32; i++) {
      const blockBytes = 2 ** 21
      car.set(encodeVarint(cid.length + blockBytes), at)
      at += encodeVarint(cid.length + blockBytes).length
      car.set(cid, at)
      new DataView(car.buffer).setUint32(at + 20, i)
      at += cid.length + blockBytes
    }
    const options = { memoryLimitBytes: 2 ** 40, verifyHashes: false }
    const loaded = await loadCar(car.subarray(0, at), options)
    expect(loaded.kind).toBe('disk')
    if (loaded.kind === 'disk') await loaded.discard()
  })

  test('may give nothing but bytes', async () => {
    const texts: unknown = ['not bytes']
    if (!Array.isArray(texts)) return
    await expect(loadCar(texts)).rejects.toBeInstanceOf(TypeError)
  })
})

function list(): Iterator<Uint8Array> {
  return pieces(repo.car, 10_000)
}

function thenables(): CarSource {
  const iterator = list()
  const next = () => {
    const result = iterator.next()
    // biome-ignore lint/suspicious/noThenProperty: it is what this is about
    return { then: (resolve: (result: unknown) => void) => resolve(result) }
  }
  return { [Symbol.asyncIterator]: () => ({ next }) } as unknown as CarSource
}

function fromAnotherRealm(): CarSource {
  return runInNewContext('(async function* (list) { yield* list })')([...pieces(repo.car, 10_000)])
}

/** A CAR, then `more` for ever: by default a chunk of blocks that were sent before. */
function* endless(more = manyBlocks()): Generator<Uint8Array> {
  yield repo.car
  for (let bytes = 0; bytes < giveUpBytes; bytes += 1024 + more.length) yield more
  throw new Error('no turn of the event loop was given')
}

function manyBlocks(): Uint8Array {
  const { cid, bytes } = rawRecord({ a: 'x'.repeat(10_000) })
  const section = Buffer.concat([encodeVarint(cid.length + bytes.length), cid, bytes])
  return Buffer.concat(Array(5).fill(section))
}

async function* asAsync(chunks: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* chunks
}

function asStream(chunks: Iterator<Uint8Array>): ReadableStream<Uint8Array> {
  return new ReadableStream({ pull: (controller) => controller.enqueue(chunks.next().value) })
}
