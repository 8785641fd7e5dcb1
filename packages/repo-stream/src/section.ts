// How a kept block lies in memory and on disk: as a CAR section, `varint, CID, bytes`, whose CID's first byte tells the
// block's state. So a section can be kept where it arrived, without a copy.
import { cidBytes, digestBytes } from './cid.ts'
import { noSlab, type Slab } from './slab.ts'

/** The block as it came: the state is the 01 of its CID. */
export const rawBlock = 1
/** What `process` made of it. */
export const processedBlock = 2
/** The block as it came, on which `process` threw. */
export const failedBlock = 3
export type BlockState = typeof rawBlock | typeof processedBlock | typeof failedBlock

/** A kept section, opened: it starts at `start` of `slab`; its block is from `from` to `to`, the digest right before it. */
export class Section {
  slab: Slab = noSlab
  start = 0
  from = 0
  to = 0
  state: number = rawBlock

  open(slab: Slab, start: number): void {
    const { bytes } = slab
    let at = start
    let byte = bytes[at++] ?? 0
    let length = byte & 0x7f
    for (let bits = 7; byte >= 0x80; bits += 7) {
      byte = bytes[at++] ?? 0
      length += (byte & 0x7f) << bits
    }
    this.slab = slab
    this.start = start
    this.state = bytes[at] ?? 0
    this.from = at + cidBytes
    this.to = at + length
  }
}

/** Bytes of a section with `valueBytes` of data. */
export function sectionBytes(valueBytes: number): number {
  const length = cidBytes + valueBytes
  let varintBytes = 1
  for (let rest = length; rest >= 0x80; rest >>>= 7) varintBytes++
  return varintBytes + length
}

export interface SectionParts {
  /** The digest is at `digestAt` of `source`. */
  readonly source: Slab
  readonly digestAt: number
  readonly state: BlockState
  readonly value: Uint8Array
}

/** Writes a section of `sectionBytes(value.length)` bytes at `start` of `target`. */
export function writeSection(target: Slab, start: number, { source, digestAt, state, value }: SectionParts): void {
  const { bytes, view } = target
  let at = start
  let rest = cidBytes + value.length
  for (; rest >= 0x80; rest >>>= 7) bytes[at++] = (rest & 0x7f) | 0x80
  bytes[at++] = rest
  view.setUint32(at, (state << 24) | 0x711220)
  at += 4
  for (let i = 0; i < digestBytes; i += 8) view.setBigInt64(at + i, source.view.getBigInt64(digestAt + i, true), true)
  bytes.set(value, at + digestBytes)
}

/** Can this block be a node of the tree? A node is a map of two whose first key is `e`, a list. */
export function looksLikeNode(bytes: Uint8Array, from: number, to: number): boolean {
  if (to - from < 4 || bytes[from] !== 0xa2 || bytes[from + 1] !== 0x61 || bytes[from + 2] !== 0x65) return false
  return ((bytes[from + 3] ?? 0) & 0xe0) === 0x80
}
