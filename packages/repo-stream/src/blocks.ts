// What the memory and the disk store of blocks have in common. A kept block is a CAR section, `varint, CID, bytes`, whose
// CID's first byte tells its state, so a section can be kept where it arrived, without a copy.
import { cidBytes, digestBytes } from './cid.ts'
import type { Slab } from './slab.ts'

/** The block as it came. */
export const rawBlock = 1
/** What `process` made of it. */
export const processedBlock = 2
/** The block as it came, on which `process` threw. */
export const failedBlock = 3
export type BlockState = typeof rawBlock | typeof processedBlock | typeof failedBlock

export interface BlockStore {
  /** The block that `find` found: from `from` to `to` in `slab`, the digest before it. */
  readonly slab: Slab
  readonly from: number
  readonly to: number
  readonly state: number
  /** Does what `find` gives stay where it is? If not, it is good until the next call of any function here. */
  readonly isStable: boolean
  /** Looks for the block whose digest stands at `at` of `view`. */
  find(view: DataView, at: number): boolean
  /** Keeps a block: its digest stands at `digestAt` of `source`, its bytes are `source[from, to)`. False: no memory left. */
  keep(source: Slab, digestAt: number, state: BlockState, value: Uint8Array): boolean
  /** Keeps the section at `start`, whose data is from `data` to `end`, as it is. False: no memory left. */
  keepSection(source: Slab, start: number, data: number, end: number): boolean
  close(): void
}

/** Bytes of a section with `valueBytes` of data. */
export function sectionBytes(valueBytes: number): number {
  return varintBytes(cidBytes + valueBytes) + cidBytes + valueBytes
}

export function writeSection(
  target: Slab,
  at: number,
  section: { digest: Slab; digestAt: number; state: BlockState; value: Uint8Array },
): void {
  const { digest, digestAt, state, value } = section
  const { bytes } = target
  let rest = cidBytes + value.length
  let to = at
  for (; rest >= 0x80; rest >>>= 7) bytes[to++] = (rest & 0x7f) | 0x80
  bytes[to++] = rest
  target.view.setUint32(to, 0x00711220 | (state << 24))
  to += 4
  for (let i = 0; i < digestBytes; i++) bytes[to + i] = digest.bytes[digestAt + i] ?? 0
  bytes.set(value, to + digestBytes)
}

function varintBytes(value: number): number {
  let n = 1
  for (let rest = value; rest >= 0x80; rest >>>= 7) n++
  return n
}

/** Can this block be a node of the tree? A node is a map of two whose first key is `e`, a list. */
export function looksLikeNode(bytes: Uint8Array, from: number, to: number): boolean {
  return (
    bytes[from] === 0xa2 &&
    bytes[from + 1] === 0x61 &&
    bytes[from + 2] === 0x65 &&
    to - from > 3 &&
    ((bytes[from + 3] ?? 0) & 0xe0) === 0x80
  )
}
