// Rows of a large repo as they cross threads, chunk by chunk: large buffers are transferred as they are, small ones are gathered
// into one, for transferring costs more than copying a few KiB. Whoever sends gives the buffers away.
import { freeNow } from 'repo-stream'
import { ownsMemory } from './own-memory.ts'
import type { RefusedChunk, RepoTotals, RowChunk, TableRows } from './write.ts'

export interface SentTable {
  table: number
  rows: number
  bytes: Uint8Array[]
}

export type SentChunk = SentTable | RefusedChunk

/** The buffers that go along with a message. */
export type Transfer = Set<ArrayBuffer>

/** Up to this a piece is copied. */
const gatherBytes = 16 * 1024

export function sendChunk(chunk: RowChunk, transfer: Transfer): SentChunk {
  if (!('table' in chunk)) return sendRefused(chunk)
  const { table, rows, bytes } = chunk
  return { table, rows, bytes: gather(bytes, transfer) }
}

export function receiveChunk(chunk: SentChunk): RowChunk {
  if (!('table' in chunk)) return chunk
  return { table: chunk.table, ...receiveRows(chunk), release: () => freeRows(chunk) }
}

/** Frees the memory of received rows now; left to the collector, it made the main thread mark its heap twice a second. */
function freeRows({ bytes }: SentTable): void {
  for (const piece of bytes) freeNow(piece)
}

export function sendTotals({ rev, head, skipped, rejects, oddities }: RepoTotals): RepoTotals {
  return { rev, head: new Uint8Array(head), skipped, ...sendRefused({ rejects, oddities }) }
}

/** A view would travel with all that it is a view of, so these are copied. */
export function sendRefused({ rejects, oddities }: RefusedChunk): RefusedChunk {
  return {
    rejects: rejects.map((one) => ({ ...one, cid: new Uint8Array(one.cid), bytes: new Uint8Array(one.bytes) })),
    oddities: oddities.map((one) => ({ ...one, original: new Uint8Array(one.original) })),
  }
}

function receiveRows({ rows, bytes }: SentTable): TableRows {
  return { rows, bytes: bytes.map(({ buffer, byteOffset, length }) => Buffer.from(buffer, byteOffset, length)) }
}

function gather(pieces: readonly Uint8Array[], transfer: Transfer): Uint8Array[] {
  const gathered = new Uint8Array(pieces.reduce((sum, piece) => sum + (isWhole(piece) ? 0 : piece.length), 0))
  if (gathered.length > 0) transfer.add(gathered.buffer)
  const sent: Uint8Array[] = []
  let from = 0
  let at = 0
  for (const piece of pieces) {
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
  return sent
}

/** Is it worth transferring, and does it lie in memory of its own? */
function isWhole(piece: Uint8Array): piece is Uint8Array<ArrayBuffer> {
  return piece.length > gatherBytes && ownsMemory(piece)
}
