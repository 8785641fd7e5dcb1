// Decides whether a walk's answer to a damaged CAR is right: a coded refusal in time is; what is accepted must be what
// @atproto/repo reads from the same bytes, and the tree that the entries make when it is built anew.
import { MemoryBlockstore, Repo, readCarWithRoot } from '@atproto/repo'
import { BlockTable, cidText, TreeBuilder } from '../fixtures/index.ts'
import { type Commit, type LoadOptions, loadCar, openDiskStore, RepoStreamError, spillPath } from '../src/index.ts'

export interface Walked {
  commit: Commit
  entries: { key: string; cid: string; bytes: Uint8Array }[]
}

/** More than any small CAR may need. */
const maxCpuMs = 2_000

/** What the walk made of it: the repo, or the code of its refusal. Anything else it does is thrown on. */
export async function walkDamaged(
  car: Uint8Array,
  way: LoadOptions & { pieceBytes?: number; spillDir: string },
): Promise<Walked | string> {
  const started = process.cpuUsage()
  const outcome = await walk(car, way).catch((error: unknown) => {
    if (error instanceof RepoStreamError) return error.code
    throw new Error('the walk threw something that is no RepoStreamError', { cause: error })
  })
  const { user, system } = process.cpuUsage(started)
  if (user + system > maxCpuMs * 1_000) throw new Error(`the walk took ${(user + system) / 1_000} ms`)
  return outcome
}

async function walk(
  bytes: Uint8Array,
  { pieceBytes, spillDir, ...options }: Parameters<typeof walkDamaged>[1],
): Promise<Walked> {
  const car = await loadCar(pieceBytes ? pieces(bytes, pieceBytes) : bytes, options)
  const { commit, driver } =
    car.kind === 'memory' ? car : await car.finishLoading(() => openDiskStore(spillPath(spillDir)))
  await using _closing = driver
  const entries: Walked['entries'] = []
  for (let chunk = await driver.nextChunk(50); chunk; chunk = await driver.nextChunk(50)) {
    for (const { key, cid, data } of chunk) entries.push({ key, cid: cidText(cid), bytes: Uint8Array.from(data) })
  }
  return { commit, entries }
}

function* pieces(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

/** Throws when the accepted repo is not what others see in these bytes. */
export async function judgeAccepted(car: Uint8Array, { commit, entries }: Walked): Promise<void> {
  const { root, blocks } = await readCarWithRoot(car)
  const repo = await Repo.load(new MemoryBlockstore(blocks), root)
  assertSame('commit', cidText(commit.cid), root.toString())
  assertSame('did', commit.did, repo.did)
  assertSame('rev', commit.rev, repo.commit.rev)
  assertSame('data', cidText(commit.data), repo.commit.data.toString())
  let at = 0
  for await (const { key, value } of repo.data.walkLeavesFrom('')) {
    const entry = entries[at++]
    assertSame(`key ${at}`, entry?.key, key)
    assertSame(`cid of ${key}`, entry?.cid, value.toString())
    const bytes = blocks.get(value)
    if (!bytes || !entry || Buffer.compare(bytes, entry.bytes) !== 0) throw new Error(`other bytes for ${key}`)
  }
  assertSame('number of records', entries.length, at)
  assertCanonical(commit, entries, (cid) => isEntryLess(blocks, cid))
}

/** The keys have one tree only. A root without entries above it is tolerated: some servers leave one behind. */
function assertCanonical(commit: Commit, entries: Walked['entries'], isTolerated: (cid: string) => boolean): void {
  const table = new BlockTable()
  const tree = new TreeBuilder(table)
  for (const { key, bytes } of entries) tree.add(key, table.add(bytes))
  const { root } = tree.finish()
  const digest = commit.data.subarray(4)
  if (Buffer.compare(table.digest(root), digest) !== 0 && !isTolerated(cidText(commit.data))) {
    throw new Error('the tree is not the one that its keys make')
  }
}

type Blocks = Awaited<ReturnType<typeof readCarWithRoot>>['blocks']

function isEntryLess(blocks: Blocks, cid: string): boolean {
  for (const { cid: other, bytes } of blocks.entries()) {
    if (other.toString() === cid) return Buffer.from(bytes).subarray(0, 4).equals(Buffer.from('a2616580', 'hex'))
  }
  return false
}

function assertSame(what: string, ours: unknown, theirs: unknown): void {
  if (ours !== theirs) throw new Error(`${what}: the walk says ${ours}, @atproto/repo ${theirs}`)
}
