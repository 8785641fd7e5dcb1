// One record of a walk. It points into the memory where the key and the record lie; strings and views are made when asked
// for, so that a caller pays for what it reads.
import { digestBytes } from './cid.ts'
import { type Slab, slabOver, viewOf } from './slab.ts'
import type { Entry, EntryPlace } from './types.ts'

/** Where an entry's parts lie. */
export interface EntryParts extends EntryPlace {
  readonly collection: string
  readonly keyBytes: Buffer
  readonly node: Slab
  readonly record: Slab
  readonly error: unknown
}

export class WalkEntry implements Entry {
  readonly collection: string
  readonly error: unknown
  readonly keyBytes: Buffer
  readonly rkeyFrom: number
  readonly rkeyTo: number
  readonly node: Slab
  readonly digestFrom: number
  readonly record: Slab
  readonly dataFrom: number
  readonly dataTo: number

  constructor(parts: EntryParts) {
    this.collection = parts.collection
    this.error = parts.error
    this.keyBytes = parts.keyBytes
    this.rkeyFrom = parts.rkeyFrom
    this.rkeyTo = parts.rkeyTo
    this.node = parts.node
    this.digestFrom = parts.digestFrom
    this.record = parts.record
    this.dataFrom = parts.dataFrom
    this.dataTo = parts.dataTo
  }

  get rkey(): string {
    return this.keyBytes.toString('latin1', this.rkeyFrom, this.rkeyTo)
  }

  get key(): string {
    return `${this.collection}/${this.rkey}`
  }

  get cid(): Uint8Array {
    return viewOf(this.node, this.digestFrom - 4, this.digestFrom + digestBytes)
  }

  get data(): Uint8Array {
    return viewOf(this.record, this.dataFrom, this.dataTo)
  }
}

/** An entry that no walk has given, such as one that is read back from where it was stored. */
export function entryOf(parts: Pick<Entry, 'collection' | 'rkey' | 'cid' | 'data'>): Entry {
  const { collection, rkey, cid, data } = parts
  const keyBytes = Buffer.from(rkey)
  return {
    ...parts,
    key: `${collection}/${rkey}`,
    keyBytes,
    rkeyFrom: 0,
    rkeyTo: keyBytes.length,
    node: slabOver(cid),
    digestFrom: cid.length - digestBytes,
    record: slabOver(data),
    dataFrom: 0,
    dataTo: data.length,
  }
}
