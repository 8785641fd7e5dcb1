// One record of a walk. It points into the memory where the key and the record lie; strings and views are made when asked
// for, so that a caller pays for what it reads: an entry whose fields are not read costs one small object.
import type { Entry } from './types.ts'

/** Where an entry's parts lie. */
export interface EntryParts {
  readonly collection: string
  /** `collection/rkey` in ASCII. */
  readonly key: Buffer
  readonly rkeyFrom: number
  readonly keyTo: number
  readonly cid: Uint8Array
  readonly cidFrom: number
  readonly data: Uint8Array
  readonly dataFrom: number
  readonly dataTo: number
  readonly error: unknown
}

export class WalkEntry implements Entry {
  readonly collection: string
  readonly error: unknown
  readonly #parts: EntryParts

  constructor(parts: EntryParts) {
    this.collection = parts.collection
    this.error = parts.error
    this.#parts = parts
  }

  get rkey(): string {
    return this.#parts.key.toString('latin1', this.#parts.rkeyFrom, this.#parts.keyTo)
  }

  get key(): string {
    return `${this.collection}/${this.rkey}`
  }

  get cid(): Uint8Array {
    return view(this.#parts.cid, this.#parts.cidFrom, this.#parts.cidFrom + 36)
  }

  get data(): Uint8Array {
    return view(this.#parts.data, this.#parts.dataFrom, this.#parts.dataTo)
  }
}

/** A third cheaper than `subarray` (26 against 35 ns), and never a Buffer. */
function view(bytes: Uint8Array, from: number, to: number): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset + from, to - from)
}
