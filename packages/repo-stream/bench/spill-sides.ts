// The spilled walk in the way of the Rust crate: every block a row of a temporary SQLite file under its CID as primary key,
// WAL, synchronous off, with our own parser and walk. Records are kept as they are. Ours is spill-ours.js.
import { createReadStream, rmSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import type { BlockStore } from '../src/blocks.ts'
import { CarReader } from '../src/car.ts'
import { decodeCommit } from '../src/commit.ts'
import type { Entry } from '../src/index.ts'
import { defaultLimits } from '../src/limits.ts'
import { Section } from '../src/section.ts'
import { slabOver } from '../src/slab.ts'
import { Walk } from '../src/walk.ts'
import { workDir } from './cars.ts'
import type { Side, Walked } from './sides.ts'

const cacheBytes = 8 * 1024 * 1024
const chunkBytes = 1024 * 1024

export const spillCrateWay: Side = async (path) => async () => {
  const file = join(workDir, `crate-way-${process.pid}.sqlite`)
  const database = new DatabaseSync(file)
  try {
    database.exec(`
      pragma journal_mode = wal;
      pragma synchronous = off;
      pragma cache_size = -${cacheBytes / 1024};
      create table blocks (cid blob primary key, bytes blob not null) without rowid;
    `)
    const root = await fill(database, path)
    return walkRows(database.prepare('select bytes from blocks where cid = ?'), root)
  } finally {
    database.close()
    for (const suffix of ['', '-wal', '-shm']) rmSync(file + suffix, { force: true })
  }
}

/** Stores all blocks, a thousand a transaction; gives the digest of the commit. */
async function fill(database: DatabaseSync, path: string): Promise<Uint8Array> {
  const insert = database.prepare('insert or ignore into blocks values (?, ?)')
  const reader = new CarReader(defaultLimits)
  let rows = 0
  let rest: Uint8Array = new Uint8Array(0)
  database.exec('begin')
  for await (const chunk of createReadStream(path, { highWaterMark: chunkBytes })) {
    const slab = slabOver(Buffer.concat([rest, chunk]))
    const parsed = reader.parse(slab, 0, slab.bytes.length, ({ bytes }, _start, data, end) => {
      insert.run(bytes.subarray(data - 36, data), bytes.subarray(data, end))
      if (++rows % 1_000 === 0) database.exec('commit; begin')
      return true
    })
    rest = slab.bytes.slice(parsed)
  }
  database.exec('commit')
  if (reader.rootDigest === undefined) throw new Error('the CAR has no header')
  return reader.rootDigest
}

function walkRows(select: StatementSync, rootDigest: Uint8Array): Walked {
  const store = new RowStore(select)
  const cid = Uint8Array.from([...cidHead, ...rootDigest])
  if (!store.find(slabOver(cid).view, 4)) throw new Error('the commit is missing')
  const { data } = decodeCommit(store.found.slab.bytes.subarray(store.found.from), cid)
  const walk = new Walk(store, data.subarray(4), { limits: defaultLimits, process: undefined })
  const walked = { records: 0, bytes: 0 }
  for (;;) {
    const entries: Entry[] = []
    const status = walk.fill(entries, 1_000)
    if (status === 'missing') throw new Error('a block is missing')
    count(walked, entries)
    if (status === 'end') return walked
  }
}

/** Version 1, DAG-CBOR, SHA-256 of 32 bytes: every block of a repo. */
const cidHead = [1, 0x71, 0x12, 0x20]

/** Blocks read one row at a time, by CID. */
class RowStore implements BlockStore {
  readonly found = new Section()
  readonly isStable = true
  readonly holdsBlocks = true
  readonly #select: StatementSync

  constructor(select: StatementSync) {
    this.#select = select
  }

  find(view: DataView, digestAt: number): boolean {
    const digest = new Uint8Array(view.buffer, view.byteOffset + digestAt, 32)
    const cid = new Uint8Array(36)
    cid.set(cidHead)
    cid.set(digest, cidHead.length)
    const bytes = this.#select.get(cid)?.bytes
    if (!(bytes instanceof Uint8Array)) return false
    const held = new Uint8Array(32 + bytes.length) // the walk wants the digest before the block
    held.set(digest)
    held.set(bytes, 32)
    this.found.slab = slabOver(held)
    this.found.from = 32
    this.found.to = held.length
    return true
  }

  keep(): boolean {
    throw new Error('the rows are written by the bench')
  }

  keepSection(): boolean {
    throw new Error('the rows are written by the bench')
  }

  close(): void {}
}

function count(walked: Walked, entries: readonly Entry[]): void {
  for (const { data } of entries) {
    walked.records++
    walked.bytes += data.length
  }
}
