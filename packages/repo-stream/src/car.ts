// Reads a CAR v1: bytes in, one call for each block out, without copying. A section that is not whole yet waits.
// The header must be the one that repos have: canonical DAG-CBOR, version 1, one root.
import { checkCidHead, cidBytes, isLink, linkBytes } from './cid.ts'
import { RepoStreamError } from './errors.ts'
import { hasText } from './has-text.ts'
import { type Limits, limitError } from './limits.ts'
import type { Slab } from './slab.ts'

/** Takes a block: the section starts at `start`, the block's bytes are from `data` to `end`. False: not now, stop here. */
export type BlockSink = (slab: Slab, start: number, data: number, end: number) => boolean

/** No length in a CAR needs more: 2^56 bytes. */
const maxVarintBytes = 8

export class CarReader {
  readonly #limits: Limits
  /** The digest that the header's root names: 32 bytes. Undefined until the header is in. */
  rootDigest: Uint8Array | undefined
  /** Bytes before the first section that is not taken yet. */
  offset = 0
  blocks = 0
  /** Bytes that the waiting section has in all, as far as its length is known. */
  waitingBytes = 1
  #varintValue = 0

  constructor(limits: Limits) {
    this.#limits = limits
  }

  /** Reads the whole sections from `from` up to `to` and gives where the rest starts. */
  parse(slab: Slab, from: number, to: number, sink: BlockSink): number {
    const start = this.offset - from
    let at = this.rootDigest === undefined ? this.#readHeader(slab, from, to) : from
    if (this.rootDigest !== undefined) at = this.#readSections(slab, at, to, sink)
    this.offset = start + at
    return at
  }

  /** The input has ended with `rest` bytes unread. */
  end(rest: number): void {
    if (rest === 0 && this.rootDigest !== undefined) return
    throw new RepoStreamError('CarTruncated', 'the CAR ends in the middle of a section', {
      offset: this.offset,
      details: { rest, wanted: this.waitingBytes },
    })
  }

  #readSections(slab: Slab, from: number, to: number, sink: BlockSink): number {
    const { bytes, view } = slab
    const maxSection = this.#limits.maxBlockBytes + cidBytes
    const base = this.offset - from
    let at = from
    for (;;) {
      const cid = this.#readVarint(bytes, at, to, base)
      if (cid < 0) return at
      const length = this.#varintValue
      if (length < cidBytes || length > maxSection) throw this.#badLength(length, base + at)
      const end = cid + length
      this.waitingBytes = end - at
      if (end > to) return at
      checkCidHead(view, cid, base + cid)
      if (this.blocks === this.#limits.maxBlocks) {
        throw limitError('maxBlocks', { max: this.blocks, actual: this.blocks + 1, offset: base + at })
      }
      this.offset = base + at
      if (!sink(slab, at, cid + cidBytes, end)) return at
      this.blocks++
      this.waitingBytes = 1
      at = end
    }
  }

  #badLength(length: number, offset: number): RepoStreamError {
    if (length >= cidBytes)
      return limitError('maxBlockBytes', { max: this.#limits.maxBlockBytes, actual: length - cidBytes, offset })
    return new RepoStreamError('SectionInvalid', `a section of ${length} bytes is shorter than a CID`, { offset })
  }

  /** Reads a varint into `#varintValue` and gives where it ends; -1 when it is not whole. */
  #readVarint(bytes: Uint8Array, at: number, to: number, base: number): number {
    let value = 0
    let scale = 1
    for (let i = at; i < to; i++) {
      const byte = bytes[i] ?? 0
      value += (byte & 0x7f) * scale
      if (byte < 0x80) {
        if (byte === 0 && i > at)
          throw new RepoStreamError('VarintInvalid', 'a varint is longer than its value needs', { offset: base + at })
        this.#varintValue = value
        return i + 1
      }
      if (i - at + 1 === maxVarintBytes) {
        throw new RepoStreamError('VarintInvalid', `a varint is longer than ${maxVarintBytes} bytes`, {
          offset: base + at,
        })
      }
      scale *= 128
    }
    this.waitingBytes = to - at + 1
    return -1
  }

  #readHeader(slab: Slab, from: number, to: number): number {
    const base = this.offset - from
    const at = this.#readVarint(slab.bytes, from, to, base)
    if (at < 0) return from
    const length = this.#varintValue
    const { maxHeaderBytes } = this.#limits
    if (length > maxHeaderBytes)
      throw limitError('maxHeaderBytes', { max: maxHeaderBytes, actual: length, offset: base + from })
    this.waitingBytes = at + length - from
    if (at + length > to) return from
    const rootAt = readRoot(slab, at, at + length, base)
    this.rootDigest = slab.bytes.slice(rootAt + 4, rootAt + cidBytes)
    this.waitingBytes = 1
    return at + length
  }
}

/** `{roots: [link], version: 1}` fills the bytes exactly; gives where the root's CID starts. */
function readRoot(slab: Slab, from: number, to: number, base: number): number {
  const { bytes, view } = slab
  const invalid = (what: string, at: number): RepoStreamError =>
    new RepoStreamError('CarHeaderInvalid', `the CAR header ${what}`, { offset: base + at })
  const roots = from + 1
  if (bytes[from] !== 0xa2 || !hasText(bytes, roots, to, 'roots'))
    throw invalid('is not the map {roots, version}', from)
  const list = roots + 6
  const count = (bytes[list] ?? 0) - 0x80
  if (count < 0 || count > 0x1b) throw invalid('has roots that are no list', list)
  if (count !== 1) {
    throw new RepoStreamError('CarRootsInvalid', `a repo has one root, this CAR has ${count === 0 ? 'none' : 'more'}`, {
      offset: base + list,
    })
  }
  const link = list + 1
  if (link + linkBytes > to || view.getUint32(link) !== 0xd82a5825 || view.getUint8(link + 4) !== 0)
    throw invalid('has a root that is no link', link)
  checkCidHead(view, link + 5, base + link + 5)
  if (!isLink(view, link, to)) throw invalid('has a root that is no link', link)
  const version = link + linkBytes
  if (!hasText(bytes, version, to, 'version')) throw invalid('has no version', version)
  if (bytes[version + 8] !== 1) throw invalid('has a version that is not 1', version + 8)
  if (version + 9 !== to) throw invalid('has bytes after its end', version + 9)
  return link + 5
}
