// One record of a walk. It points into the memory where the key and the record lie; strings and views are made when asked
// for, so that a caller pays for what it reads.
import { digestBytes } from './cid.ts'
import type { Keys } from './keys.ts'
import { noSlab, type Slab, slabOver, viewOf } from './slab.ts'
import type { Entry } from './types.ts'

/** Made in two steps, without an object for its parts: entries are most of what a walk leaves to the collector. */
export class WalkEntry implements Entry {
  readonly collection: string
  error: unknown = undefined
  readonly keyBytes: Buffer
  readonly rkeyFrom: number
  readonly rkeyTo: number
  readonly node: Slab
  readonly digestFrom: number
  record = noSlab
  dataFrom = 0
  dataTo = 0

  /** Under the key written last; the record's digest starts at `digestFrom` of `node`. */
  constructor(collection: string, { bytes, slash, to }: Keys, node: Slab, digestFrom: number) {
    this.collection = collection
    this.keyBytes = bytes
    this.rkeyFrom = slash + 1
    this.rkeyTo = to
    this.node = node
    this.digestFrom = digestFrom
  }

  withData(record: Slab, from: number, to: number): this {
    this.record = record
    this.dataFrom = from
    this.dataTo = to
    return this
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
