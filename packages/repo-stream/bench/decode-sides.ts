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
    const records = await recordsOf(path)
    return () => {
      let bytes = 0
      let last: unknown
      for (const record of records) {
        last = decode(record)
        bytes += record.length
      }
      if (last === undefined) throw new Error('there are no records')
      return { records: records.length, bytes }
    }
  }
}

async function recordsOf(path: string): Promise<Uint8Array[]> {
  const car = await loadCar(await readFile(path), { memoryLimitBytes: 2 ** 40 })
  if (car.kind === 'disk') throw new Error('the memory limit was reached')
  await using driver = car.driver
  const records: Uint8Array[] = []
  for (let chunk = await driver.nextChunk(1_000); chunk; chunk = await driver.nextChunk(1_000)) {
    for (const { data } of chunk) if (!hasLargeInteger(data)) records.push(data)
  }
  return records
}

function hasLargeInteger(record: Uint8Array): boolean {
  try {
    atcuteDecode(record)
    return false
  } catch {
    return true
  }
}
