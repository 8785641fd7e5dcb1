// The small repos that one turn of a thread has finished, on their way to the main thread: rows and all that every repo has in
// one buffer, which is transferred; what few repos have (rejects, oddities, skipped collections) beside it, as objects.
// An object for each repo and table instead cost a tenth of what a tiny repo takes (bench:index-thread).
import { freeNow } from 'repo-stream'
import { sendRefused } from './sent-rows.ts'
import type { FinishedRepo, RefusedChunk, TableRows } from './write.ts'

export interface Parcel {
  bytes: ArrayBuffer
  odd: ReadonlyMap<number, OddRepo>
}

type OddRepo = RefusedChunk & Pick<FinishedRepo, 'skipped'>

/** What the main thread learns of a repo beside its rows. */
export interface ParcelRepo {
  task: number
  rejected: number
  spilled: boolean
}

export interface PackedRepo extends ParcelRepo {
  repo: Omit<FinishedRepo, 'claim'>
}

export interface RepoToPack extends PackedRepo {
  /** Called when the rows are copied: their buffers may be used again. */
  recycle: () => void
}

// Of a repo: task, rows, rejected, length of its rows (uint32), spilled, length of its rev, number of tables (uint16), its head
// and rev; then of each table: index, rows and length (uint32); then the rows, table by table.
const repoHead = 4 * 4 + 3 * 2
const headBytes = 36
const tableHead = 3 * 4

/** A parcel that is being filled. */
export class Packer {
  readonly #repos: RepoToPack[] = []
  #bytes = 0

  /** The rows may change no more until `seal`. */
  add(packed: RepoToPack): void {
    const { repo } = packed
    this.#bytes += repoHead + headBytes + repo.rev.length + repo.tables.size * tableHead
    for (const { bytes } of repo.tables.values()) for (const piece of bytes) this.#bytes += piece.length
    this.#repos.push(packed)
  }

  /** Undefined when there is nothing to send. Then it is empty again. */
  seal(): Parcel | undefined {
    if (this.#repos.length === 0) return undefined
    const { buffer } = Buffer.allocUnsafeSlow(this.#bytes)
    const writer = new ParcelWriter(buffer)
    const odd = new Map<number, OddRepo>()
    for (const packed of this.#repos) {
      writer.write(packed)
      packed.recycle()
      const { rejects, oddities, skipped } = packed.repo
      if (rejects.length + oddities.length + skipped.size > 0) {
        odd.set(packed.task, { ...sendRefused(packed.repo), skipped })
      }
    }
    this.#repos.length = 0
    this.#bytes = 0
    return { bytes: buffer, odd }
  }
}

class ParcelWriter {
  readonly #bytes: Buffer
  #at = 0

  constructor(buffer: ArrayBuffer) {
    this.#bytes = Buffer.from(buffer)
  }

  write({ repo, task, rejected, spilled }: PackedRepo): void {
    const bytes = this.#bytes
    const start = this.#at
    let at = start + repoHead
    bytes.set(repo.head, at)
    at += headBytes
    at += bytes.write(repo.rev, at, 'latin1')
    const rowsAt = at + repo.tables.size * tableHead
    let to = rowsAt
    for (const [table, rows] of repo.tables) {
      const from = to
      for (const piece of rows.bytes) {
        bytes.set(piece, to)
        to += piece.length
      }
      at = bytes.writeUInt32LE(table, at)
      at = bytes.writeUInt32LE(rows.rows, at)
      at = bytes.writeUInt32LE(to - from, at)
    }
    at = bytes.writeUInt32LE(task, start)
    at = bytes.writeUInt32LE(repo.rows, at)
    at = bytes.writeUInt32LE(rejected, at)
    at = bytes.writeUInt32LE(repo.bytes, at)
    at = bytes.writeUInt16LE(spilled ? 1 : 0, at)
    at = bytes.writeUInt16LE(repo.rev.length, at)
    bytes.writeUInt16LE(repo.tables.size, at)
    this.#at = to
  }
}

/** The repos of a parcel, whose memory is freed when all of them have been `release`d. */
export function* unpack({ bytes: buffer, odd }: Parcel): Generator<PackedRepo & { release: () => void }> {
  const bytes = Buffer.from(buffer)
  let held = 1
  const release = () => {
    if (--held === 0) freeNow(bytes)
  }
  for (let at = 0; at < bytes.length; ) {
    const task = bytes.readUInt32LE(at)
    const revLength = bytes.readUInt16LE(at + 18)
    const revAt = at + repoHead + headBytes
    const tables = new Map<number, TableRows>()
    const tablesAt = revAt + revLength
    const tableCount = bytes.readUInt16LE(at + 20)
    let rowsAt = tablesAt + tableCount * tableHead
    for (let i = 0, head = tablesAt; i < tableCount; i++, head += tableHead) {
      const end = rowsAt + bytes.readUInt32LE(head + 8)
      const rows = [Buffer.from(buffer, rowsAt, end - rowsAt)]
      tables.set(bytes.readUInt32LE(head), { rows: bytes.readUInt32LE(head + 4), bytes: rows })
      rowsAt = end
    }
    held++
    yield {
      task,
      rejected: bytes.readUInt32LE(at + 8),
      spilled: bytes.readUInt16LE(at + 16) === 1,
      repo: {
        rev: bytes.toString('latin1', revAt, tablesAt),
        head: Uint8Array.from(bytes.subarray(at + repoHead, revAt)),
        tables,
        rows: bytes.readUInt32LE(at + 4),
        bytes: bytes.readUInt32LE(at + 12),
        ...(odd.get(task) ?? nothingOdd),
      },
      release,
    }
    at = rowsAt
  }
  release()
}

const nothingOdd: OddRepo = { rejects: [], oddities: [], skipped: new Map() }
