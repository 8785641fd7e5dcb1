// The signed CARs of a population in a few files, made once and kept under the temporary directory for later runs.
// Input: a population; output: where each CAR lies. Two threads build, each into a file of its own.
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { carBytesPerRecord, planRepos } from './pipeline-population.ts'

export interface StoredRepo {
  did: string
  /** Signing key as did:key. */
  key: string
  rev: string
  head: string
  records: number
  file: number
  offset: number
  bytes: number
}

export interface StoredRepos {
  dir: string
  files: string[]
  repos: StoredRepo[]
}

export interface RepoFilesOptions {
  seed: number
  repos: number
  bigRepos: number
  bigBytes: number
}

const threads = 2
const builder = new URL('./pipeline-builder.ts', import.meta.url)
/** Changes when the same options would give other bytes. */
const format = 1

export async function storeRepos(options: RepoFilesOptions): Promise<StoredRepos> {
  return await storeOnce(options, (dir) => build(dir, options))
}

type Built = Omit<StoredRepos, 'dir'>

/** The folder that `build` has filled for these options, now or earlier. */
export async function storeOnce(options: object, build: (dir: string) => Built | Promise<Built>): Promise<StoredRepos> {
  const name = createHash('sha256')
    .update(JSON.stringify({ format, ...options }))
    .digest('hex')
    .slice(0, 16)
  const dir = join(tmpdir(), 'atproto-indexer-bench', `repos-${name}`)
  if (!existsSync(dir)) {
    const unfinished = `${dir}.new`
    rmSync(unfinished, { recursive: true, force: true })
    mkdirSync(unfinished, { recursive: true })
    writeFileSync(join(unfinished, 'repos.json'), JSON.stringify(await build(unfinished)))
    renameSync(unfinished, dir)
    process.stderr.write(`stored in ${dir}\n`)
  }
  return readStored(dir)
}

/** Where the files of `dir` are; also called by the farm. */
export function readStored(dir: string): StoredRepos {
  const stored: Built = JSON.parse(readFileSync(join(dir, 'repos.json'), 'utf8'))
  return { dir, ...stored }
}

async function build(dir: string, { seed, repos, bigRepos, bigBytes }: RepoFilesOptions): Promise<Built> {
  process.stderr.write(`building ${repos} repos, once\n`)
  const bigRecords = Math.round(bigBytes / carBytesPerRecord)
  const planned = planRepos({ seed, repos, bigRepos, bigRecords })
  const parts = await Promise.all(
    Array.from({ length: threads }, (_, file) => {
      const share = planned.filter(({ index }) => index % threads === file)
      return runBuilder({ path: join(dir, `${file}.cars`), file, repos: share })
    }),
  )
  const files = parts.map((_, file) => `${file}.cars`)
  const stored = planned.map(({ index }) => {
    const one = parts[index % threads]?.[Math.floor(index / threads)]
    if (one === undefined) throw new Error('a builder answers with each repo that it was given')
    return one
  })
  return { files, repos: stored }
}

function runBuilder(workerData: unknown): Promise<StoredRepo[]> {
  const { promise, resolve, reject } = Promise.withResolvers<StoredRepo[]>()
  const worker = new Worker(builder, { workerData })
  worker.once('message', resolve).once('error', reject)
  return promise
}
