// The signed CAR of one huge repo in a file, made once: a number of records in, where it lies out, as pipeline-repos.ts says it.
// Records are a few thousand templates with another time in each, so five million of them take a minute, not ten; the tree, the
// signature and the PDS order of the blocks are those of any other repo.
import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import {
  buildRepo,
  encodeRecord,
  generateRecords,
  makeDid,
  makeSigningKey,
  type RepoRecord,
  tidFromMicros,
} from 'repo-stream/fixtures'
import { recordMix } from './pipeline-population.ts'
import { type StoredRepos, storeOnce } from './pipeline-repos.ts'

export interface BigRepoOptions {
  seed: number
  records: number
}

const templates = 4000
const fromMicros = Date.UTC(2023, 0, 1) * 1000
const toMicros = Date.UTC(2025, 0, 1) * 1000
const clockId = 5

export async function storeBigRepo(options: BigRepoOptions): Promise<StoredRepos> {
  return await storeOnce({ kind: 'big repo', ...options }, (dir) => {
    process.stderr.write(`building a repo of ${options.records} records, once\n`)
    const did = makeDid(`big ${options.seed}`)
    const signingKey = makeSigningKey(did)
    let records = 0
    const counted = {
      *[Symbol.iterator]() {
        for (const record of manyRecords(options, did)) {
          records++
          yield record
        }
      },
    }
    const repo = buildRepo({ did, signingKey, records: counted })
    const name = '0.cars'
    const handle = openSync(join(dir, name), 'w')
    let bytes = 0
    for (const chunk of repo.chunks({ chunkBytes: 1024 * 1024 })) bytes += writeSync(handle, chunk)
    closeSync(handle)
    const { rev, head } = repo
    const stored = { did, key: signingKey.did, rev, head, records, file: 0, offset: 0, bytes }
    return { files: [name], repos: [stored] }
  })
}

/** In key order. The bytes are overwritten by the next record of the same template. */
function* manyRecords({ seed, records }: BigRepoOptions, did: string): Generator<RepoRecord> {
  const samples = [...generateRecords({ seed, did, count: templates, mix: recordMix, repeats: 0 })]
  for (const [collection, own] of Map.groupBy(samples, ({ key }) => key.slice(0, key.indexOf('/')))) {
    const made = own.map(({ value }) => makeTemplate(value))
    const amount = Math.round((records * own.length) / samples.length)
    for (let index = 0; index < amount; index++) {
      const micros = Math.floor(fromMicros + ((index + 0.5) * (toMicros - fromMicros)) / amount)
      const template = made[index % made.length]
      if (template === undefined) throw new Error('each collection has a sample')
      const { bytes, timeAt } = template
      bytes.write(new Date(micros / 1000).toISOString(), timeAt, 'latin1')
      yield { key: `${collection}/${tidFromMicros(micros, clockId)}`, bytes }
    }
  }
}

interface Template {
  bytes: Buffer
  /** Where the text of `createdAt` begins. */
  timeAt: number
}

function makeTemplate(value: unknown): Template {
  const { createdAt } = value as { createdAt: string }
  const bytes = Buffer.from(encodeRecord(value))
  return { bytes, timeAt: bytes.lastIndexOf(createdAt) }
}
