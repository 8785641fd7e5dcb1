// Decoding alone: the bytes of every record of a CAR to JS values. Integers beyond 2^53 are left out for both sides, as
// @atcute/cbor refuses them.
import { readFile } from 'node:fs/promises'
import { decode as atcuteDecode } from '@atcute/cbor'
import { decodeRecord, loadCar } from '../src/index.ts'
import type { Side } from './sides.ts'

export const decodeOurs = decodeAll(decodeRecord)
export const decodeAtcute = decodeAll(atcuteDecode)

function decodeAll(decode: (bytes: Uint8Array) => unknown): Side {
  return async (path) => {
    const chunks = await chunksOf(path)
    return () => {
      let records = 0
      let bytes = 0
      for (const chunk of chunks) {
        bytes += decodeChunk(chunk, decode)
        records += chunk.length
      }
      return { records, bytes }
    }
  }
}

/**
 * A loop of its own: one over all records, in the walk, is compiled anew in every walk, decoder and all. V8 replaces it while
 * it runs and throws the code away at its end, where it has never been (--trace-deopt).
 */
function decodeChunk(chunk: readonly Uint8Array[], decode: (bytes: Uint8Array) => unknown): number {
  let bytes = 0
  let last: unknown
  for (const record of chunk) {
    last = decode(record)
    bytes += record.length
  }
  if (last === undefined) throw new Error('there are no records')
  return bytes
}

/** The records as a walk gives them, in chunks of a thousand. */
async function chunksOf(path: string): Promise<Uint8Array[][]> {
  const car = await loadCar(await readFile(path), { memoryLimitBytes: 2 ** 40 })
  if (car.kind === 'disk') throw new Error('the memory limit was reached')
  await using driver = car.driver
  const chunks: Uint8Array[][] = []
  for (let chunk = await driver.nextChunk(1_000); chunk; chunk = await driver.nextChunk(1_000)) {
    chunks.push(chunk.map(({ data }) => data).filter((data) => !hasLargeInteger(data)))
  }
  return chunks
}

function hasLargeInteger(record: Uint8Array): boolean {
  try {
    atcuteDecode(record)
    return false
  } catch {
    return true
  }
}
