// The CARs that the bench walks: a size and an order in, the path of a file out. Generated once from a fixed seed and kept
// in the system's temporary folder; tiny and little are real repos where the samples are at hand.
import { createWriteStream, existsSync, mkdirSync, renameSync } from 'node:fs'
import { copyFile, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type BlockOrder, buildRepo, generateRecords, makeDid, makeSigningKey } from '../fixtures/index.ts'

export const orders: readonly BlockOrder[] = ['pds', 'preorder', 'digest']

/** How many records make the size; 396 bytes a record with its share of the tree. */
export const sizes = {
  tiny: { records: 8, sample: 'tiny.car' },
  little: { records: 700, sample: 'little.car' },
  '5MiB': { records: 13_200, sample: undefined },
  '128MiB': { records: 339_000, sample: undefined },
  '450MiB': { records: 1_191_000, sample: undefined },
} as const

export type Size = keyof typeof sizes

export const workDir = join(tmpdir(), 'repo-stream-bench')
const samples = join(import.meta.dirname, '../../../../shared/samples')

/** Names the fixtures' version: another generator gives other files. */
const generation = 1

/** The path of the CAR; `source` says whether it is a real repo. */
export async function carFile(size: Size, order: BlockOrder): Promise<{ path: string; bytes: number; source: string }> {
  const { sample } = sizes[size]
  const real = sample !== undefined && existsSync(join(samples, sample))
  const path = join(workDir, `${size}-${real ? 'sample' : `${order}-${generation}`}.car`)
  mkdirSync(workDir, { recursive: true })
  if (!existsSync(path)) {
    if (real) await copyFile(join(samples, sample), path)
    else await generate(size)
  }
  const { size: bytes } = await stat(path)
  return { path, bytes, source: real ? 'sample' : 'generated' }
}

/** Writes the size in all orders, as the records are the costly part. */
async function generate(size: Size): Promise<void> {
  const repo = buildRepo({
    did: makeDid('bench'),
    signingKey: makeSigningKey('bench'),
    records: generateRecords({ seed: 'bench', count: sizes[size].records }),
  })
  for (const order of orders) {
    const path = join(workDir, `${size}-${order}-${generation}.car`)
    const chunks = Readable.from(repo.chunks({ order, chunkBytes: 1024 * 1024 }))
    await pipeline(chunks, createWriteStream(`${path}.part`))
    renameSync(`${path}.part`, path)
  }
}
