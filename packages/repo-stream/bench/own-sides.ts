// Our own sides of the walk: records to byte lengths, without hashes, verified, and verified with a processor.
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { type CarSource, type LoadOptions, loadCar } from '../src/index.ts'
import type { Side, Walked } from './sides.ts'

export const ours = fromBytes({ verifyHashes: false })
export const oursVerified = fromBytes({})
export const oursProcessed = fromBytes({ process: lengthOf })
export const coldOurs = fromFile({ verifyHashes: false })
export const coldOursVerified = fromFile({})

function fromBytes(options: LoadOptions): Side {
  return async (path) => {
    const bytes = new Uint8Array(await readFile(path))
    return () => walk(bytes, options)
  }
}

function fromFile(options: LoadOptions): Side {
  return async (path) => () => walk(createReadStream(path), options)
}

async function walk(source: CarSource, options: LoadOptions): Promise<Walked> {
  const car = await loadCar(source, { memoryLimitBytes: 2 ** 40, ...options })
  if (car.kind === 'disk') throw new Error('the memory limit was reached')
  const walked = { records: 0, bytes: 0 }
  await using driver = car.driver
  for (let chunk = await driver.nextChunk(1_000); chunk; chunk = await driver.nextChunk(1_000)) {
    for (const { data } of chunk) {
      walked.records++
      walked.bytes += data.length
    }
  }
  return walked
}

const lengthBytes = Buffer.alloc(8)

function lengthOf(block: Uint8Array): Uint8Array {
  lengthBytes.writeUInt32LE(block.length)
  return lengthBytes
}
