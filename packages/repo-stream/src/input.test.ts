// What a source may do: hang, fail, be ready always, be of any kind.
import { describe, expect, test } from 'vitest'
import { buildRepo, generateRecords, makeDid, makeSigningKey } from '../fixtures/index.ts'
import { rawRecord } from '../fixtures/raw-repo.ts'
import { loadCar } from './index.ts'

const repo = buildRepo({
  did: makeDid('input'),
  signingKey: makeSigningKey('input'),
  records: generateRecords({ seed: 'input', count: 300 }),
})
/** An endless source that gets no turn gives up, so that the test ends. */
const giveUpMs = 2000

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

  test('may give nothing but bytes', async () => {
    const texts: unknown = ['not bytes']
    if (!Array.isArray(texts)) return
    await expect(loadCar(texts)).rejects.toBeInstanceOf(TypeError)
  })
})

/** A CAR, then `more` for ever: by default a chunk of blocks that were sent before. */
function* endless(more = manyBlocks()): Generator<Uint8Array> {
  yield repo.car
  for (const startedMs = performance.now(); performance.now() < startedMs + giveUpMs; ) yield more
  throw new Error('no turn of the event loop was given')
}

function manyBlocks(): Uint8Array {
  const { cid, bytes } = rawRecord({ a: 'block' })
  const section = Buffer.concat([Buffer.of(cid.length + bytes.length), cid, bytes])
  return Buffer.concat(Array(1000).fill(section))
}

async function* asAsync(chunks: Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* chunks
}

function asStream(chunks: Iterator<Uint8Array>): ReadableStream<Uint8Array> {
  return new ReadableStream({ pull: (controller) => controller.enqueue(chunks.next().value) })
}
