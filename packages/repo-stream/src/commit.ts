// Decodes the signed root of a repo from its block. Strict: canonical DAG-CBOR, exactly the six fields, because the bytes
// that the signature covers are the block without `sig`, and whatever else stood in it would be signed unseen.
import { cidBytes, cidBytesText, cidHead, linkBytes } from './cid.ts'
import { RepoStreamError } from './errors.ts'
import { hasText } from './has-text.ts'
import type { Commit } from './types.ts'

/** In canonical order: shorter keys first. */
const fields = ['did', 'rev', 'sig', 'data', 'prev', 'version'] as const
type Field = (typeof fields)[number]
const versionField = fields.indexOf('version')

const didPattern = /^did:[a-z]+:[a-zA-Z0-9._:%-]{0,2000}[a-zA-Z0-9._-]$/
const tidPattern = /^[234567abcdefghij][234567abcdefghijklmnopqrstuvwxyz]{12}$/

/** Decodes the commit `block` whose CID is `cid` (36 bytes). Throws `CommitInvalid`, `CommitVersionUnsupported`. */
export function decodeCommit(block: Uint8Array, cid: Uint8Array): Commit {
  return new CommitReader(block, cid).read()
}

class CommitReader {
  readonly #bytes: Buffer
  readonly #cid: Uint8Array
  #at = 0

  constructor(block: Uint8Array, cid: Uint8Array) {
    this.#bytes = Buffer.from(block.buffer, block.byteOffset, block.byteLength)
    this.#cid = cid
  }

  read(): Commit {
    const count = (this.#bytes[this.#at++] ?? 0) - 0xa0
    if (count < 0 || count > 23) throw this.#invalid('it is not a map')
    const found: { -readonly [F in keyof Commit]?: Commit[F] } & { prev: Uint8Array | null } = { prev: null }
    let version = 0
    let sigFrom = 0
    let sigTo = 0
    let last = -1
    let seen = 0
    for (let i = 0; i < count; i++) {
      const from = this.#at
      const field = this.#field()
      const order = fields.indexOf(field)
      if (order <= last) throw this.#invalid('its fields are out of order or repeated', field)
      last = order
      seen |= 1 << order
      if (field === 'did' || field === 'rev') found[field] = this.#text(field)
      else if (field === 'sig') {
        found.sig = this.#copy(this.#string(0x40, field))
        sigFrom = from
        sigTo = this.#at
      } else if (field === 'data') found.data = this.#link(field)
      else if (field === 'prev') found.prev = this.#bytes[this.#at] === 0xf6 ? this.#null() : this.#link(field)
      else version = this.#length(0x00, field)
    }
    if (this.#at !== this.#bytes.length) throw this.#invalid('there are bytes after its end')
    if (last === versionField && version !== 3) {
      throw new RepoStreamError('CommitVersionUnsupported', `the commit has version ${version}, only 3 is supported`, {
        cid: cidBytesText(this.#cid),
        details: { version },
      })
    }
    fields.forEach((field, i) => {
      if ((seen & (1 << i)) === 0) throw this.#invalid('a field is missing', field)
    })
    const { did, data, rev, sig, prev } = found
    if (did === undefined || data === undefined || rev === undefined || sig === undefined)
      throw this.#invalid('a field is missing')
    if (!didPattern.test(did)) throw this.#invalid('the DID is malformed', 'did')
    if (!tidPattern.test(rev)) throw this.#invalid('the rev is not a TID', 'rev')
    return { did, version: 3, data, rev, prev, sig, cid: this.#cid, signedBytes: this.#without(sigFrom, sigTo) }
  }

  /** The same map without the pair from `from` to `to`. */
  #without(from: number, to: number): Uint8Array {
    const bytes = this.#bytes
    const signed = new Uint8Array(bytes.length - (to - from))
    bytes.copy(signed, 0, 0, from)
    bytes.copy(signed, from, to)
    signed[0] = (bytes[0] ?? 0) - 1
    return signed
  }

  #field(): Field {
    const bytes = this.#bytes
    for (const field of fields) {
      if (!hasText(bytes, this.#at, bytes.length, field)) continue
      this.#at += 1 + field.length
      return field
    }
    throw this.#invalid('it has a field that no commit has', this.#text('').slice(0, 64))
  }

  /** One byte a character: the patterns of DID and TID let no other through than ASCII. */
  #text(field: string): string {
    return this.#bytes.toString('latin1', this.#string(0x60, field), this.#at)
  }

  /** Goes behind a text (major type 0x60) or byte string (0x40), and gives where its bytes start. */
  #string(type: number, field: string): number {
    const length = this.#length(type, field)
    const from = this.#at
    if (from + length > this.#bytes.length) throw this.#invalid('a value is cut', field)
    this.#at = from + length
    return from
  }

  /** What has been read since `from`. */
  #copy(from: number): Uint8Array {
    const copy = new Uint8Array(this.#at - from)
    for (let i = 0; i < copy.length; i++) copy[i] = this.#bytes[from + i] ?? 0
    return copy
  }

  /** The head of a value of type `type`: a length or number below 65536, in its shortest form. */
  #length(type: number, field: string): number {
    const small = (this.#bytes[this.#at++] ?? 0xff) - type
    if (small >= 0 && small < 24) return small
    const byte = this.#bytes[this.#at++] ?? 0
    if (small === 24 && byte >= 24) return byte
    const word = byte * 256 + (this.#bytes[this.#at++] ?? 0)
    if (small === 25 && word >= 256) return word
    throw this.#invalid('a value has the wrong type or is not in its shortest form', field)
  }

  #link(field: string): Uint8Array {
    const from = this.#at
    const bytes = this.#bytes
    if (
      from + linkBytes > bytes.length ||
      bytes.readUInt32BE(from) !== 0xd82a5825 ||
      bytes[from + 4] !== 0 ||
      bytes.readUInt32BE(from + 5) !== cidHead
    ) {
      throw this.#invalid('a link is not one to a block of a repo', field)
    }
    this.#at = from + linkBytes
    return this.#copy(this.#at - cidBytes)
  }

  #null(): null {
    this.#at++
    return null
  }

  #invalid(what: string, field?: string): RepoStreamError {
    return new RepoStreamError('CommitInvalid', `not a commit: ${what}${field ? ` (${field})` : ''}`, {
      cid: cidBytesText(this.#cid),
      details: field ? { field } : {},
    })
  }
}
