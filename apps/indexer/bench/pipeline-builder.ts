// A thread of pipeline-repos.ts: builds and signs its share of the repos, one after the other, into one file.
import { closeSync, openSync, writeSync } from 'node:fs'
import { parentPort, workerData } from 'node:worker_threads'
import { buildRepo, generateRecords, makeSigningKey } from 'repo-stream/fixtures'
import { type PlannedRepo, recordMix } from './pipeline-population.ts'
import type { StoredRepo } from './pipeline-repos.ts'

export interface BuilderData {
  path: string
  file: number
  repos: PlannedRepo[]
}

const { path, file, repos }: BuilderData = workerData
const handle = openSync(path, 'w')
let offset = 0
const stored = repos.map(({ did, records: count }): StoredRepo => {
  const signingKey = makeSigningKey(did)
  const records = [...generateRecords({ seed: did, did, count, mix: recordMix })]
  const repo = buildRepo({ did, signingKey, records })
  const start = offset
  for (const chunk of repo.chunks({ chunkBytes: 1024 * 1024 })) offset += writeSync(handle, chunk)
  return {
    did,
    key: signingKey.did,
    rev: repo.rev,
    head: repo.head,
    records: count,
    file,
    offset: start,
    bytes: offset - start,
  }
})
closeSync(handle)
parentPort?.postMessage(stored)
