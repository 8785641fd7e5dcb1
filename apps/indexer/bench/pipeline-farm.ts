// The farm, a process of its own: relay, PLC directory and PDSs on loopback, serving ready CARs from files, or tiny repos
// whose commits are made as they are asked for. In: a line of JSON as argument; out: a line of JSON with the URLs.
// It ends when its stdin closes.
import { closeSync, openSync, readSync } from 'node:fs'
import { join } from 'node:path'
import { readStored, type StoredRepo } from './pipeline-repos.ts'
import { type Answer, listen } from './pipeline-server.ts'
import { makeTinyRepos } from './pipeline-tiny.ts'

export interface FarmOptions {
  /** Folder of `storeRepos`. */
  dir?: string
  /** Only repos of up to so many records. */
  maxRecords?: number
  /** Only repos of more than so many records. */
  minRecords?: number
  /** Repos that are made on the fly. */
  tiny?: { repos: number; seed: number }
  hosts: number
  /** False: DID documents name none, for a client that would look them up in the DNS. */
  handles?: boolean
}

export interface FarmUrls {
  relayUrl: string
  plcUrl: string
  pid: number
  repos: number
  records: number
  bytes: number
}

export interface FarmRepo {
  did: string
  key: string
  rev: string
  head: string
  records: number
  car: () => Iterable<Buffer>
}

const chunkBytes = 64 * 1024
/** Past this a CAR is read from its file as it is sent. */
const heldCarBytes = 512 * 1024 * 1024
const options: FarmOptions = JSON.parse(process.argv[2] ?? '{}')
const { repos, bytes } = load(options)
const byDid = new Map(repos.map((repo, index) => [repo.did, index]))
const hosts = await Promise.all(Array.from({ length: options.hosts }, () => listen(answerPds)))
const plcUrl = await listen(answerPlc)
const relayUrl = await listen(answerRelay)
const records = repos.reduce((sum, repo) => sum + repo.records, 0)
const urls: FarmUrls = { relayUrl, plcUrl, pid: process.pid, repos: repos.length, records, bytes }
process.stdout.write(`${JSON.stringify(urls)}\n`)
process.stdin.once('close', () => process.exit(0)).resume()

function load({ dir, tiny, minRecords = -1, maxRecords = Number.POSITIVE_INFINITY }: FarmOptions): {
  repos: FarmRepo[]
  bytes: number
} {
  const tinyRepos = tiny === undefined ? [] : makeTinyRepos(tiny)
  if (dir === undefined) return { repos: tinyRepos, bytes: 0 }
  const { files, repos: stored } = readStored(dir)
  const wanted = stored.filter((repo) => repo.records <= maxRecords && repo.records > minRecords)
  const held = files.map((name, file) =>
    readCars(
      join(dir, name),
      wanted.filter((repo) => repo.file === file && repo.bytes <= heldCarBytes),
    ),
  )
  const carOf = (repo: StoredRepo): Iterable<Buffer> => {
    const car = held[repo.file]?.get(repo.did)
    return car === undefined ? piecesOfFile(join(dir, files[repo.file] ?? ''), repo) : pieces(car)
  }
  const repos = wanted.map((repo): FarmRepo => ({ ...repo, car: () => carOf(repo) }))
  return { repos: [...repos, ...tinyRepos], bytes: wanted.reduce((sum, repo) => sum + repo.bytes, 0) }
}

/** Nearly all are in memory: a page cache that the machine has taken back would make this a bench of its disk. */
function readCars(path: string, repos: readonly StoredRepo[]): Map<string, Buffer> {
  const handle = openSync(path, 'r')
  const cars = repos.map(({ did, offset, bytes }): [string, Buffer] => {
    const car = Buffer.allocUnsafeSlow(bytes)
    for (let done = 0; done < bytes; ) done += readSync(handle, car, done, bytes - done, offset + done)
    return [did, car]
  })
  closeSync(handle)
  return new Map(cars)
}

function* pieces(car: Buffer): Generator<Buffer> {
  for (let at = 0; at < car.length; at += chunkBytes) yield car.subarray(at, at + chunkBytes)
}

function* piecesOfFile(path: string, { offset, bytes }: StoredRepo): Generator<Buffer> {
  const handle = openSync(path, 'r')
  try {
    for (let at = 0; at < bytes; ) {
      const piece = Buffer.allocUnsafeSlow(Math.min(chunkBytes, bytes - at))
      const read = readSync(handle, piece, 0, piece.length, offset + at)
      at += read
      yield piece.subarray(0, read)
    }
  } finally {
    closeSync(handle)
  }
}

function answerPds(path: string): Answer {
  const did = decodeURIComponent(path.slice(path.indexOf('did=') + 4))
  const repo = repos[byDid.get(did) ?? -1]
  if (repo === undefined) return json({ error: 'RepoNotFound', message: did }, 400)
  return { type: 'application/vnd.ipld.car', body: repo.car() }
}

function answerPlc(path: string): Answer {
  const did = decodeURIComponent(path.slice(1))
  const index = byDid.get(did)
  const repo = repos[index ?? -1]
  if (repo === undefined || index === undefined) return json({ message: 'DID not registered' }, 400)
  return json({
    '@context': ['https://www.w3.org/ns/did/v1', 'https://w3id.org/security/multikey/v1'],
    id: did,
    alsoKnownAs: options.handles === false ? [] : [`at://user-${index}.bench.test`],
    verificationMethod: [
      {
        id: `${did}#atproto`,
        type: 'Multikey',
        controller: did,
        publicKeyMultibase: repo.key.slice('did:key:'.length),
      },
    ],
    service: [{ id: '#atproto_pds', type: 'AtprotoPersonalDataServer', serviceEndpoint: hosts[index % hosts.length] }],
  })
}

function answerRelay(path: string): Answer {
  const query = new URL(path, 'http://relay').searchParams
  const start = Number(query.get('cursor') ?? 0)
  const limit = Number(query.get('limit') ?? 500)
  const page = repos.slice(start, start + limit)
  return json({
    repos: page.map(({ did, rev, head }) => ({ did, rev, head, active: true })),
    ...(page.length === limit ? { cursor: String(start + limit) } : {}),
  })
}

function json(value: unknown, status = 200): Answer {
  return { status, type: 'application/json', body: Buffer.from(JSON.stringify(value)) }
}
