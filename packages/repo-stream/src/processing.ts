// What is kept of a record that `process` makes smaller: the parts of its section. The surprise: one object serves all calls, for
// `process` and for what comes out, as objects for each block were a tenth of what a row leaves to the collector.
import { digestBytes } from './cid.ts'
import { type BlockState, failedBlock, processedBlock, type SectionParts } from './section.ts'
import { noSlab, type Slab, slabOver } from './slab.ts'
import type { Process } from './types.ts'

export class Processing {
  readonly #process: Process
  readonly #digest = slabOver(new Uint8Array(digestBytes))
  readonly #place = { memory: noSlab, from: 0, to: 0 }
  readonly #parts = { source: noSlab, digestAt: 0, state: processedBlock as BlockState, value: noSlab.bytes }

  constructor(process: Process) {
    this.#process = process
  }

  /** Of the block from `data` to `end` of `slab`, its digest right before it; `block` is a view of it. Good until the next call. */
  partsOf(slab: Slab, data: number, end: number, block: Uint8Array): SectionParts {
    const parts = this.#parts
    const place = this.#place
    if (place.memory !== slab) parts.source = place.memory = slab
    parts.digestAt = data - digestBytes
    place.from = data
    place.to = end
    try {
      parts.value = this.#process(block, this.#copyDigest(slab, data), place)
      parts.state = processedBlock
    } catch {
      parts.value = block
      parts.state = failedBlock // the walk makes its error again
    }
    return parts
  }

  /** A copy costs less than a view. */
  #copyDigest({ view }: Slab, data: number): Uint8Array {
    const digest = this.#digest
    const from = data - digestBytes
    for (let i = 0; i < digestBytes; i += 8) digest.view.setBigInt64(i, view.getBigInt64(from + i, true), true)
    return digest.bytes
  }
}
