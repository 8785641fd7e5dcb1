import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { zstdDecompressSync } from 'node:zlib'
import { type Commit, loadCar } from 'repo-stream'
import { buildRepo, createRandom, makeDid, makeSigningKey, tidFromMicros } from 'repo-stream/fixtures'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { archivePath, frameBytes, openArchive, removeArchived, unfinishedPath } from './archive.ts'
import { readArchivedCar, readArchivedHead } from './archive-read.ts'
import { ArchiveCopy } from './archive-write.ts'

const did = makeDid(7)
const random = createRandom('archive')
let dir: string

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'archive-'))
})
afterAll(() => rm(dir, { recursive: true }))

async function* pieces(bytes: Uint8Array, length: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length)
}

async function drain(chunks: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const all: Uint8Array[] = []
  for await (const chunk of chunks) all.push(chunk)
  return Buffer.concat(all)
}

function makeCar(records: number): Uint8Array {
  const like = (i: number) => ({
    key: `app.bsky.feed.like/${tidFromMicros(1_700_000_000_000_000 + i, 1)}`,
    value: { $type: 'app.bsky.feed.like', text: Buffer.from(random.bytes(100)).toString('hex') },
  })
  const content = Array.from({ length: records }, (_, i) => like(i))
  return buildRepo({ did, signingKey: makeSigningKey('a'), records: content, rev: tidFromMicros(1, 1) }).car
}

async function archive(car: Uint8Array, keep = true): Promise<Commit> {
  await openArchive(dir)
  using copy = new ArchiveCopy(dir, did)
  expect(await drain(copy.through(pieces(car, 10_007)))).toEqual(Buffer.from(car))
  const loaded = await loadCar(car)
  if (loaded.kind !== 'memory') throw new Error('a test repo fits into memory')
  await loaded.driver.close()
  if (keep) await copy.keep(loaded.commit)
  return loaded.commit
}

const read = () => drain(readArchivedCar({ dir, did }))
const unfinished = () => readdir(join(dir, 'unfinished'))

test.each([1, 3_000])(
  'a CAR of %i records comes back as it was, with its rev and head, and replaces the one before',
  async (records) => {
    const car = makeCar(records)
    const commit = await archive(car)
    const head = await readArchivedHead({ dir, did })
    expect(head).toMatchObject({ did, rev: commit.rev, head: Buffer.from(commit.cid).toString('hex') })
    expect(head.frames.length > 1).toBe(car.length > 2 * frameBytes)
    expect(await read()).toEqual(Buffer.from(car))
    expect(await unfinished()).toEqual([])
  },
)

test('any zstd decompresses a file to its CAR', async () => {
  const car = makeCar(3)
  await archive(car)
  expect(zstdDecompressSync(await readFile(archivePath(dir, did)))).toEqual(Buffer.from(car))
})

test('a copy that is not kept leaves the old file, and nothing else', async () => {
  const old = makeCar(2)
  await archive(old)
  for (const records of [4, 3_000]) await archive(makeCar(records), false)
  expect(await read()).toEqual(Buffer.from(old))
  expect(await unfinished()).toEqual([])
})

test('a file that is cut short anywhere, or has a wrong byte in its frames, is damaged or gives other bytes', async () => {
  const car = makeCar(1_500)
  await archive(car)
  const path = archivePath(dir, did)
  const whole = await readFile(path)
  for (const length of [0, 1, 11, 12, 4095, 4096, 4097, whole.length >> 1, whole.length - 1]) {
    await writeFile(path, whole)
    await truncate(path, length)
    await expect(read(), `${length} bytes`).rejects.toMatchObject({ code: 'ArchiveDamaged' })
  }
  for (let i = 0; i < 200; i++) {
    const broken = Buffer.from(whole)
    const at = random.below(broken.length)
    broken[at] = (broken[at] ?? 0) ^ (1 << random.below(8))
    await writeFile(path, broken)
    const outcome = await read().then(
      (bytes) => (bytes.equals(car) ? 'same' : 'other'),
      (error: { code: string }) => error.code,
    )
    // Bits that say nothing of the frames, as those of the DID, leave the CAR as it was.
    expect(['ArchiveDamaged', 'other', ...(at > whole.length - 400 ? ['same'] : [])], `byte ${at}`).toContain(outcome)
  }
})

test('a CAR that is not there, or was removed, is missing', async () => {
  await archive(makeCar(1))
  await removeArchived(dir, [did, makeDid(8)])
  await expect(readArchivedHead({ dir, did })).rejects.toMatchObject({ code: 'ArchiveMissing' })
  expect(existsSync(archivePath(dir, did))).toBe(false)
})

test('what a killed process left unfinished goes when the archive is opened; what a live one writes stays', async () => {
  const ours = unfinishedPath(dir)
  const theirs = ours.replace(/-\d+-/, '-4194304-')
  await writeFile(ours, 'ours')
  await writeFile(theirs, 'theirs')
  await openArchive(dir)
  expect(await unfinished()).toEqual([ours.slice(dir.length + '/unfinished/'.length)])
})

test('an archive that cannot be written says so', async () => {
  const file = join(dir, 'a file')
  await writeFile(file, '')
  await expect(openArchive(file)).rejects.toMatchObject({
    code: 'FileUnusable',
    message: expect.stringMatching(/EEXIST|ENOTDIR/),
  })
  const copy = new ArchiveCopy(file, did)
  await expect(drain(copy.through(pieces(makeCar(3_000), 100_000)))).rejects.toMatchObject({
    code: 'FileUnusable',
  })
})
