// A projection with the walk left out, for tests: a block and the key it stands under in, what the sink was told out.
import { type Entry, entryOf } from 'repo-stream'
import type { Config, Table } from '../config.ts'
import type { RowFields } from './answer.ts'
import { createProjection, type ProjectionSink } from './projection.ts'
import { placeAmong } from './testing-place.ts'

export interface Settled {
  table?: Table
  fields?: Uint8Array
  /** `column code`. */
  oddities: string[]
  originals: Uint8Array[]
  reject?: string
  rejectedBytes?: Uint8Array
  skipped?: string
  again?: true
}

export interface TestProjection {
  /** As repo-stream does it: process, copy, settle; and once more, with the digest kept raw, when that was asked for. */
  settleAs(collection: string, block: Uint8Array, rkey?: string): Settled
  /** The same without the second walk. */
  settleOnce(collection: string, block: Uint8Array, rkey?: string): Settled
}

const digest = new Uint8Array(32).fill(7)

export function createTestProjection(config: Config): TestProjection {
  const first = createProjection(config)
  const second = createProjection(config, { keepRaw: new Set([Buffer.from(digest).toString('latin1')]) })
  const settle = (projection: typeof first, collection: string, block: Uint8Array, rkey: string): Settled => {
    const data = Uint8Array.from(projection.process(block, digest, placeAmong(block)))
    const cid = Uint8Array.from([1, 0x71, 0x12, 0x20, ...digest])
    const settled: Settled = { oddities: [], originals: [] }
    projection.settle(entryOf({ collection, rkey, cid, data }), recorder(settled))
    return settled
  }
  return {
    settleOnce: (collection, block, rkey = '3jzfcijpj2z2a') => settle(first, collection, block, rkey),
    settleAs: (collection, block, rkey = '3jzfcijpj2z2a') => {
      const settled = settle(first, collection, block, rkey)
      return settled.again === true ? settle(second, collection, block, rkey) : settled
    },
  }
}

function recorder(settled: Settled): ProjectionSink {
  return {
    row: (table: Table, _entry: Entry, { memory, from, to }: RowFields) => {
      settled.table = table
      settled.fields = memory.bytes.slice(from, to)
    },
    oddity: (_table, _entry, column, code, original) => {
      settled.oddities.push(`${column} ${code}`)
      settled.originals.push(original.slice())
    },
    reject: (_entry, code, _message, bytes) => {
      settled.reject = code
      settled.rejectedBytes = bytes.slice()
    },
    skipped: (collection) => {
      settled.skipped = collection
    },
    again: () => {
      settled.again = true
    },
  }
}
