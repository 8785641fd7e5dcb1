// A row of parts that no walk has given, for tests of what becomes of rows.
import { type Entry, entryOf } from 'repo-stream'
import type { RowBuffer } from './row-buffer.ts'

export interface TestRow extends Pick<Entry, 'collection' | 'rkey'> {
  digest: Uint8Array
  /** (length, value) of each column after the cid. */
  fields: Uint8Array
}

export function appendTestRow(buffer: RowBuffer, repo: number, row: TestRow): void {
  const { collection, rkey, digest, fields } = row
  const entry = entryOf({ collection, rkey, cid: digest, data: fields })
  buffer.appendRow(repo, entry, { memory: entry.record, from: 0, to: fields.length })
}
