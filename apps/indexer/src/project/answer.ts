// How a processed record lies in memory, and what a sink is told of one. The first byte is its tag. A row goes on with its
// table (2 bytes), and with oddities also the length of its fields (4); then fields, then oddities: column, code, length, original.
import type { Entry, Memory } from 'repo-stream'
import type { Table } from '../config.ts'
import { oddityCodes } from './oddity.ts'
import type { ProjectionSink } from './projection.ts'

export const tag = { raw: 0, row: 1, oddRow: 2, skip: 3 } as const
export const rowHead = 3
export const oddRowHead = 7
export const oddityHead = 7

/** The binary COPY fields of the columns after the cid, in the order of `table.columns`: in `memory` from `from` to `to`. */
export interface RowFields {
  readonly memory: Memory
  readonly from: number
  readonly to: number
}

/** An answer of `process`, which becomes the fields in it: one object for all rows. */
export type Answer = { -readonly [name in keyof RowFields]: RowFields[name] }

/** Hands an answer with a row to the sink. */
export function giveAnswer(answer: Answer, place: { entry: Entry; table: Table }, sink: ProjectionSink): void {
  const { entry, table } = place
  const { from, to } = answer
  const { bytes, view } = answer.memory
  if (bytes[from] === tag.row) {
    answer.from = from + rowHead
    sink.row(table, entry, answer)
    return
  }
  let at = from + oddRowHead + view.getUint32(from + rowHead)
  answer.from = from + oddRowHead
  answer.to = at
  sink.row(table, entry, answer)
  while (at < to) {
    const column = table.columns[view.getUint16(at)]?.name ?? '$type'
    const code = oddityCodes[view.getUint8(at + 2)] ?? 'WrongType'
    const start = at + oddityHead
    at = start + view.getUint32(at + 3)
    sink.oddity(table, entry, column, code, bytes.subarray(start, at))
  }
}
