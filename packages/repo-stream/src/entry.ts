// One record of a walk. It points into the memory where the key and the record lie; strings and views are made when asked
// for, so that a caller pays for what it reads.
import { type Slab, viewOf } from './slab.ts'
import type { Entry } from './types.ts'

/** Where an entry's parts lie. */
export interface EntryParts {
  readonly collection: string
  /** `collection/rkey` in ASCII. */
  readonly key: Buffer
  readonly rkeyFrom: number
  readonly keyTo: number
  readonly cid: Slab
  readonly cidFrom: number
  readonly data: Slab
  readonly dataFrom: number
  readonly dataTo: number
  readonly error: unknown
}

export class WalkEntry implements Entry {
  readonly collection: string
  readonly error: unknown
  // not #private: those cost a walk 10 % (their definition is a call for each field)
  private readonly keyBytes: Buffer
  private readonly rkeyFrom: number
  private readonly keyTo: number
  private readonly cidSlab: Slab
  private readonly cidFrom: number
  private readonly dataSlab: Slab
  private readonly dataFrom: number
  private readonly dataTo: number

  constructor(parts: EntryParts) {
    this.collection = parts.collection
    this.error = parts.error
    this.keyBytes = parts.key
    this.rkeyFrom = parts.rkeyFrom
    this.keyTo = parts.keyTo
    this.cidSlab = parts.cid
    this.cidFrom = parts.cidFrom
    this.dataSlab = parts.data
    this.dataFrom = parts.dataFrom
    this.dataTo = parts.dataTo
  }

  get rkey(): string {
    return this.keyBytes.toString('latin1', this.rkeyFrom, this.keyTo)
  }

  get key(): string {
    return `${this.collection}/${this.rkey}`
  }

  get cid(): Uint8Array {
    return viewOf(this.cidSlab, this.cidFrom, this.cidFrom + 36)
  }

  get data(): Uint8Array {
    return viewOf(this.dataSlab, this.dataFrom, this.dataTo)
  }
}
