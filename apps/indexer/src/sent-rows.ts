// Rows as they cross threads: large buffers are transferred as they are, the small ones of a repo are gathered into one, for
// transferring costs more than copying a few KiB. Whoever sends gives the buffers away.
import type { ClaimedRepo } from './state.ts'
import type { FinishedRepo, RefusedChunk, RepoTotals, RowChunk, TableRows } from './write.ts'

export interface SentTable {
  table: number
  rows: number
  bytes: Uint8Array[]
}

export type SentChunk = SentTable | RefusedChunk

export interface SentRepo extends RepoTotals {
  tables: SentTable[]
  rows: number
  bytes: number
}

/** The buffers that go along with a message. */
export type Transfer = Set<ArrayBuffer>

/** Up to this a piece is copied. */
const gatherBytes = 16 * 1024

export function sendRepo(repo: FinishedRepo, transfer: Transfer): SentRepo {
  const tables = [...repo.tables].map(([table, rows]) => ({ table, ...rows }))
  return { ...sendTotals(repo), rows: repo.rows, bytes: repo.bytes, tables: gather(tables, transfer) }
}

export function receiveRepo(claim: ClaimedRepo, { tables, ...repo }: SentRepo): FinishedRepo {
  return { claim, ...repo, tables: new Map(tables.map((sent) => [sent.table, receiveRows(sent)])) }
}

export function sendChunk(chunk: RowChunk, transfer: Transfer): SentChunk {
  if (!('table' in chunk)) return sendRefused(chunk)
  const [sent] = gather([chunk], transfer)
  return sent ?? { ...chunk, bytes: [] }
}

export function receiveChunk(chunk: SentChunk): RowChunk {
  if (!('table' in chunk)) return chunk
  return { table: chunk.table, ...receiveRows(chunk), release: () => freeRows([chunk]) }
}

/** Frees the memory of received rows now; left to the collector, it made the main thread mark its heap twice a second. */
export function freeRows(tables: readonly SentTable[]): void {
  for (const { bytes } of tables) {
    for (const { buffer } of bytes) if (buffer instanceof ArrayBuffer && !buffer.detached) buffer.transfer(0)
  }
}

export function sendTotals({ rev, head, skipped, rejects, oddities }: RepoTotals): RepoTotals {
  return { rev, head: new Uint8Array(head), skipped, ...sendRefused({ rejects, oddities }) }
}

/** A view would travel with all that it is a view of, so these are copied. */
function sendRefused({ rejects, oddities }: RefusedChunk): RefusedChunk {
  return {
    rejects: rejects.map((one) => ({ ...one, cid: new Uint8Array(one.cid), bytes: new Uint8Array(one.bytes) })),
    oddities: oddities.map((one) => ({ ...one, original: new Uint8Array(one.original) })),
  }
}

function receiveRows({ rows, bytes }: SentTable): TableRows {
  return { rows, bytes: bytes.map(({ buffer, byteOffset, length }) => Buffer.from(buffer, byteOffset, length)) }
}

function gather(tables: readonly SentTable[], transfer: Transfer): SentTable[] {
  let gatheredBytes = 0
  for (const { bytes } of tables) for (const piece of bytes) if (!isWhole(piece)) gatheredBytes += piece.length
  const gathered = new Uint8Array(gatheredBytes)
  if (gatheredBytes > 0) transfer.add(gathered.buffer)
  let at = 0
  return tables.map(({ table, rows, bytes }) => {
    const sent: Uint8Array[] = []
    let from = at
    for (const piece of bytes) {
      if (!isWhole(piece)) {
        gathered.set(piece, at)
        at += piece.length
        continue
      }
      if (at > from) sent.push(gathered.subarray(from, at))
      from = at
      transfer.add(piece.buffer)
      sent.push(new Uint8Array(piece.buffer, piece.byteOffset, piece.length))
    }
    if (at > from) sent.push(gathered.subarray(from, at))
    return { table, rows, bytes: sent }
  })
}

/** Is it worth transferring, and does it lie in memory of its own? */
function isWhole(piece: Uint8Array): piece is Uint8Array<ArrayBuffer> {
  return piece.length > gatherBytes && piece.length * 2 > piece.buffer.byteLength && piece.buffer instanceof ArrayBuffer
}
