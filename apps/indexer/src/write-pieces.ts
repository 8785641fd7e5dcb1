// Gathers what a walk hands over into pieces worth a COPY each: chunks in, pieces out.
import type { Oddity, Reject, RowChunk, TableChunk } from './write.ts'

export interface RefusedPiece {
  rejects: Reject[]
  oddities: Oddity[]
}

/** A chunk of another table ends a piece; refused records, which come in between, have pieces of their own. */
export async function* gatherPieces(
  chunks: AsyncIterable<RowChunk>,
  pieceBytes: number,
): AsyncGenerator<TableChunk | RefusedPiece> {
  let rows = new Rows()
  let refused = new Refused()
  for await (const chunk of chunks) {
    if (!('table' in chunk)) {
      refused.add(chunk)
      if (refused.bytes < pieceBytes) continue
      yield refused.piece
      refused = new Refused()
      continue
    }
    if (rows.piece !== undefined && rows.piece.table !== chunk.table) {
      yield rows.piece
      rows = new Rows()
    }
    rows.add(chunk)
    if (rows.piece === undefined || rows.bytes < pieceBytes) continue
    yield rows.piece
    rows = new Rows()
  }
  if (rows.piece !== undefined) yield rows.piece
  if (refused.bytes > 0) yield refused.piece
}

class Rows {
  piece: TableChunk | undefined
  bytes = 0
  readonly #releases: (() => void)[] = []

  add({ table, rows, bytes, release }: TableChunk): void {
    this.piece ??= { table, rows: 0, bytes: [], release: () => this.#release() }
    this.piece.rows += rows
    if (release !== undefined) this.#releases.push(release)
    for (const buffer of bytes) {
      this.piece.bytes.push(buffer)
      this.bytes += buffer.length
    }
  }

  #release(): void {
    for (const release of this.#releases) release()
  }
}

/** V8's memory for a reject beside its texts and its block: 585 bytes with a block of one byte and an rkey of 13 characters. */
const objectBytes = 600

/** What it holds in memory: a repo can have millions of records whose block is one byte. */
export function refusedBytes(one: Reject | Oddity): number {
  const own = 'bytes' in one ? one.message.length + one.bytes.length : one.original.length
  return objectBytes + one.collection.length + one.rkey.length + own
}

class Refused {
  readonly piece: RefusedPiece = { rejects: [], oddities: [] }
  bytes = 0

  add({ rejects, oddities }: { rejects: readonly Reject[]; oddities: readonly Oddity[] }): void {
    for (const reject of rejects) {
      this.piece.rejects.push(reject)
      this.bytes += refusedBytes(reject)
    }
    for (const oddity of oddities) {
      this.piece.oddities.push(oddity)
      this.bytes += refusedBytes(oddity)
    }
  }
}
