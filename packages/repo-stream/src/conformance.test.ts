// The interoperability vectors of atproto, and @atproto/repo as the other opinion: what it writes is walked to the same
// records, and what our fixtures write is read by it to the same records. Random trees; SEED= repeats a run.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Secp256k1Keypair } from '@atproto/crypto'
import {
  getFullRepo,
  MemoryBlockstore,
  type RecordWriteOp,
  Repo,
  readCarWithRoot,
  verifyRepo,
  WriteOpAction,
} from '@atproto/repo'
import fc from 'fast-check'
import { CID } from 'multiformats/cid'
import { describe, expect, test } from 'vitest'
import {
  type BlockOrder,
  BlockTable,
  buildRepo,
  cidOf,
  cidText,
  commonPrefix,
  encodeRecord,
  keyHeight as fixturesKeyHeight,
  generateRecords,
  makeDid,
  makeSigningKey,
  rawCar,
  rawNode,
  rawRecord,
  TreeBuilder,
} from '../fixtures/index.ts'
import {
  type Commit,
  decodeRecord,
  keyHeight,
  loadCar,
  parsePublicKey,
  RepoStreamError,
  verifyCommit,
} from './index.ts'

const interop = join(import.meta.dirname, '../../../../shared/samples/interop')
const seed = Number(process.env.SEED ?? 20_250_102)

function vectors<T>(path: string, read: (item: Record<string, unknown>) => T): T[] {
  const list: unknown = JSON.parse(readFileSync(join(interop, path), 'utf8'))
  if (!Array.isArray(list)) throw new TypeError(`${path} is no list`)
  return list.map(read)
}

const texts = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : [])
const fromBase64 = (value: unknown): Uint8Array => Uint8Array.from(Buffer.from(String(value), 'base64'))

describe.skipIf(!existsSync(interop))('the interoperability vectors (skipped where the samples are missing)', () => {
  test('key heights are those of mst/key_heights.json', () => {
    for (const { key, height } of vectors('mst/key_heights.json', (item) => item)) {
      expect(keyHeight(String(key))).toBe(height)
      expect(fixturesKeyHeight(String(key))).toBe(height)
    }
  })

  test('shared prefixes are those of mst/common_prefix.json', async () => {
    for (const { left, right, len } of vectors('mst/common_prefix.json', (item) => item)) {
      expect(commonPrefix(Buffer.from(String(left)), Buffer.from(String(right)))).toBe(len)
      expect(commonPrefix(Buffer.from(String(right)), Buffer.from(String(left)))).toBe(len)
    }
  })

  test('trees before and after a commit have the roots of firehose/commit-proof-fixtures.json', async () => {
    const cases = vectors('firehose/commit-proof-fixtures.json', (item) => item)
    expect(cases.length).toBeGreaterThan(3)
    for (const { keys, adds, dels, leafValue, rootBeforeCommit, rootAfterCommit } of cases) {
      const value = CID.parse(String(leafValue)).multihash.digest
      const after = [...texts(keys), ...texts(adds)].filter((key) => !texts(dels).includes(key))
      expect(rootOf(texts(keys), value)).toBe(rootBeforeCommit)
      expect(rootOf(after, value)).toBe(rootAfterCommit)
      expect(await walkTree(texts(keys), value)).toEqual(texts(keys).toSorted())
      expect(await walkTree(after, value)).toEqual(after.toSorted())
    }
  })

  test('records of data-model/data-model-fixtures.json decode to their JSON and have their CIDs', () => {
    for (const { json, cbor_base64, cid } of vectors('data-model/data-model-fixtures.json', (item) => item)) {
      const bytes = fromBase64(cbor_base64)
      expect(cidText(cidOf(bytes))).toBe(cid)
      expect(toJson(decodeRecord(bytes))).toEqual(json)
      expect(Uint8Array.from(encodeRecord(fromJson(json)))).toEqual(bytes)
    }
  })

  test('records of data-model/data-model-valid.json decode to what they were', () => {
    for (const { json } of vectors('data-model/data-model-valid.json', (item) => item)) {
      expect(toJson(decodeRecord(Uint8Array.from(encodeRecord(fromJson(json)))))).toEqual(json)
    }
  })

  test('of data-model/data-model-invalid.json a value that is no map is refused; the rest is about lexicons, not encoding', () => {
    const refused = vectors('data-model/data-model-invalid.json', (item) => item).filter(({ json }) => {
      try {
        decodeRecord(Uint8Array.from(encodeRecord(json)))
        return false
      } catch (error) {
        return error instanceof RepoStreamError && error.code === 'RecordInvalid'
      }
    })
    expect(refused.map(({ note }) => note)).toEqual(['top-level not an object'])
  })

  test.each(
    existsSync(interop)
      ? vectors('crypto/signature-fixtures.json', (item) => [String(item.comment), item] as const)
      : [],
  )(
    'signature: %s',
    async (_comment, { messageBase64, publicKeyDid, publicKeyMultibase, signatureBase64, validSignature }) => {
      const commit = signed(fromBase64(messageBase64), fromBase64(signatureBase64))
      expect(await verifyCommit(commit, String(publicKeyDid))).toBe(validSignature)
      expect(await verifyCommit(commit, String(publicKeyMultibase))).toBe(validSignature)
    },
  )

  test('the keys of crypto/w3c_didkey_*.json are usable', () => {
    for (const path of ['crypto/w3c_didkey_K256.json', 'crypto/w3c_didkey_P256.json']) {
      for (const { publicDidKey } of vectors(path, (item) => item)) {
        expect(parsePublicKey(String(publicDidKey))).toHaveLength(1)
      }
    }
  })
})

describe('both ways with @atproto/repo', () => {
  const collection = fc.constantFrom('app.bsky.feed.like', 'app.bsky.feed.post', 'a.b', 'a.b.c', 'com.example.x-y')
  const rkey = fc.oneof(
    fc.stringMatching(/^[a-zA-Z0-9._~:-]{1,20}$/).filter((text) => text !== '.' && text !== '..'),
    fc.integer({ min: 0, max: 40 }).map(String),
  )
  const key = fc.tuple(collection, rkey).map(([left, right]) => `${left}/${right}`)
  const text = fc.string({ unit: 'grapheme', maxLength: 40 })
  const order = fc.constantFrom<BlockOrder>('pds', 'preorder', 'digest')

  test('a CAR that @atproto/repo writes, after any writes and deletes, is walked to the same records', async () => {
    const keypair = await Secp256k1Keypair.create()
    const writes = fc.array(fc.tuple(key, fc.option(text)), { maxLength: 60 })
    await fc.assert(
      fc.asyncProperty(fc.array(writes, { minLength: 1, maxLength: 3 }), async (commits) => {
        const storage = new MemoryBlockstore()
        const model = new Map<string, string>()
        let repo = await Repo.create(storage, makeDid(seed), keypair)
        for (const ops of commits) repo = await repo.applyWrites(toWrites(ops, model), keypair)
        const car = Buffer.concat(await Array.fromAsync(getFullRepo(storage, repo.cid)))
        const { commit, entries } = await walk(car)
        expect(entries.map((entry) => [entry.key, decodeRecord(entry.bytes).text])).toEqual(
          [...model].toSorted(([left], [right]) => Buffer.compare(Buffer.from(left), Buffer.from(right))),
        )
        expect(cidText(commit.cid)).toBe(repo.cid.toString())
        expect(commit.rev).toBe(repo.commit.rev)
        expect(await verifyCommit(commit, keypair.did())).toBe(true)
      }),
      { seed, numRuns: 25 },
    )
  })

  test('a CAR that our fixtures write, in any order, is read by @atproto/repo and by the walk to the same records', async () => {
    const signingKey = makeSigningKey(seed)
    const did = makeDid(seed)
    const keys = fc.uniqueArray(key, { maxLength: 120 })
    await fc.assert(
      fc.asyncProperty(keys, text, order, async (unique, shared, blockOrder) => {
        const records = unique.map((one, i) => ({ key: one, value: { $type: 'a.b.c', text: i % 3 ? one : shared } }))
        const built = buildRepo({ did, signingKey, records, order: blockOrder })
        const { root, blocks } = await readCarWithRoot(built.car)
        const { creates, commit } = await verifyRepo(blocks, root, did, signingKey.did)
        const expected = built.entries.map((entry) => [entry.key, cidText(entry.cid)])
        const theirs = creates.map(({ collection: left, rkey: right, cid }) => [`${left}/${right}`, cid.toString()])
        expect(theirs.toSorted()).toEqual(expected.toSorted())
        expect(commit.cid.toString()).toBe(built.head)
        const { commit: ownCommit, entries } = await walk(built.car)
        expect(entries.map((entry) => [entry.key, cidText(entry.cid)])).toEqual(expected)
        expect(await verifyCommit(ownCommit, signingKey.did)).toBe(true)
      }),
      { seed, numRuns: 60 },
    )
  })

  test.each(['K-256', 'P-256'] as const)(
    'a generated repo signed with %s passes in every block order',
    async (curve) => {
      const signingKey = makeSigningKey(seed, { curve })
      const did = makeDid(seed)
      const repo = buildRepo({ did, signingKey, records: generateRecords({ seed, count: 1_500 }) })
      for (const blockOrder of ['pds', 'preorder', 'digest'] as const) {
        const car = repo.toCar(blockOrder)
        const { root, blocks } = await readCarWithRoot(car)
        const { creates } = await verifyRepo(blocks, root, did, signingKey.did)
        const { commit, entries } = await walk(car)
        expect(creates).toHaveLength(1_500)
        expect(entries).toEqual(repo.entries)
        expect(await verifyCommit(commit, signingKey.did)).toBe(true)
        expect(await verifyCommit(commit, makeSigningKey('another', { curve }).did)).toBe(false)
      }
    },
  )
})

interface WalkedRepo {
  commit: Commit
  entries: { key: string; cid: Uint8Array; bytes: Uint8Array }[]
}

async function walk(bytes: Uint8Array, verifyHashes = true): Promise<WalkedRepo> {
  const car = await loadCar(bytes, { verifyHashes })
  if (car.kind === 'disk') throw new Error('a small repo does not need a disk')
  await using driver = car.driver
  const entries: WalkedRepo['entries'] = []
  for (let chunk = await driver.nextChunk(100); chunk; chunk = await driver.nextChunk(100)) {
    for (const entry of chunk) {
      expect(entry.key).toBe(`${entry.collection}/${entry.rkey}`)
      entries.push({ key: entry.key, cid: Uint8Array.from(entry.cid), bytes: Uint8Array.from(entry.data) })
    }
  }
  return { commit: car.commit, entries }
}

/** Turns keys with a text (write) or null (delete) into what may be done to the model, and does it. */
function toWrites(ops: readonly (readonly [string, string | null])[], model: Map<string, string>): RecordWriteOp[] {
  const writes = new Map<string, RecordWriteOp>()
  for (const [path, value] of ops) {
    const [collection = '', rkey = ''] = path.split('/')
    if (writes.has(path)) continue
    const record = { text: value ?? '' }
    if (value === null) {
      if (model.delete(path)) writes.set(path, { action: WriteOpAction.Delete, collection: nsid(collection), rkey })
      continue
    }
    const action = model.has(path) ? WriteOpAction.Update : WriteOpAction.Create
    writes.set(path, { action, collection: nsid(collection), rkey, record })
    model.set(path, value)
  }
  return [...writes.values()]
}

function nsid(text: string): `${string}.${string}.${string}` {
  if (isNsid(text)) return text
  throw new TypeError(`not an NSID: ${text}`)
}

function isNsid(text: string): text is `${string}.${string}.${string}` {
  return text.includes('.')
}

function treeOf(keys: readonly string[], digest: Uint8Array): { blocks: BlockTable; root: number } {
  const blocks = new BlockTable()
  const tree = new TreeBuilder(blocks)
  const value = blocks.addDigest(digest)
  for (const key of keys.toSorted()) tree.add(key, value)
  return { blocks, root: tree.finish().root }
}

function rootOf(keys: readonly string[], digest: Uint8Array): string {
  const { blocks, root } = treeOf(keys, digest)
  return cidText(Uint8Array.from([1, 0x71, 0x12, 0x20, ...blocks.digest(root)]))
}

/** Walks a repo with that tree; all records have the one digest, whose bytes nobody knows. */
async function walkTree(keys: readonly string[], digest: Uint8Array): Promise<string[]> {
  const { blocks, root } = treeOf(keys, digest)
  const all = Array.from({ length: blocks.count }, (_, block) => ({
    cid: Uint8Array.from([1, 0x71, 0x12, 0x20, ...blocks.digest(block)]),
    bytes: blocks.bytes(block) ?? encodeRecord({ $type: 'unknown' }),
  }))
  const rootBlock = all[root] ?? rawNode([])
  const { entries } = await walk(rawCar(rootBlock, all), false)
  return entries.map(({ key }) => key)
}

function signed(signedBytes: Uint8Array, sig: Uint8Array): Commit {
  const cid = rawRecord({}).cid
  return { did: 'did:web:example.com', version: 3, data: cid, rev: '', prev: null, cid, signedBytes, sig }
}

/** The JSON form of the data model: `$link` and `$bytes`. */
function toJson(value: unknown): unknown {
  if (value instanceof CID) return { $link: value.toString() }
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString('base64').replace(/=+$/, '') }
  if (Array.isArray(value)) return value.map(toJson)
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, toJson(item)]))
  }
  return value
}

function fromJson(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(fromJson)
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value)
  const [first] = entries
  if (entries.length === 1 && first?.[0] === '$link') return CID.parse(String(first[1]))
  if (entries.length === 1 && first?.[0] === '$bytes') return fromBase64(first[1])
  return Object.fromEntries(entries.map(([key, item]) => [key, fromJson(item)]))
}
