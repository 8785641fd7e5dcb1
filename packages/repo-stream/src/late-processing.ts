// What `process` makes of a block during the walk: of one that looks like a node, so that it was kept as it came, or on which
// it threw, as its error is made again rather than kept. The last one is remembered: a block may stand under a million keys.
import { digestBytes } from './cid.ts'
import { sameDigest } from './digest-index.ts'
import type { Section } from './section.ts'
import { type Slab, slabOver, viewOf } from './slab.ts'
import type { Process } from './types.ts'

/** All of `value` is what `process` returned; undefined: it threw `error`. */
export interface Made {
  readonly value: Slab | undefined
  readonly error: unknown
}

export class LateProcessing {
  readonly #process: Process
  readonly #digest = slabOver(new Uint8Array(digestBytes))
  #made: Made | undefined

  constructor(process: Process) {
    this.#process = process
  }

  of({ slab, from, to }: Section): Made {
    const digestAt = from - digestBytes
    if (this.#made !== undefined && sameDigest(slab.view, digestAt, this.#digest.view, 0)) return this.#made
    this.#digest.bytes.set(viewOf(slab, digestAt, from))
    this.#made = this.#make(slab, from, to)
    return this.#made
  }

  #make(slab: Slab, from: number, to: number): Made {
    try {
      const place = { memory: slab, from, to }
      const made = this.#process(viewOf(slab, from, to), viewOf(slab, from - digestBytes, from), place)
      return { value: slabOver(new Uint8Array(made)), error: undefined } // a copy, never a Buffer
    } catch (error) {
      return { value: undefined, error }
    }
  }
}
