// The links of decoded records: 36 bytes of a binary CID in, a multiformats CID out whose parts are made when asked for.
// CID's own constructor takes 260 ns, six times the copy of the bytes, and most links are only passed on (bench: decode).
import { CID } from 'multiformats/cid'
import { create as createDigest } from 'multiformats/hashes/digest'

/** A CIDv1 of a codec below 128 and a SHA-256; the caller has checked the bytes and gives them away. */
export function makeLink(bytes: Uint8Array): CID {
  const link: unknown = new Link(bytes)
  if (link instanceof CID) return link
  throw new TypeError('a link is a CID by its prototype')
}

class Link {
  readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  get '/'(): Uint8Array {
    return this.bytes
  }

  get version(): number {
    return 1
  }

  get code(): number {
    return this.bytes[1] ?? 0
  }

  get multihash(): unknown {
    return createDigest(0x12, this.bytes.slice(4))
  }

  get [Symbol.toStringTag](): string {
    return 'CID'
  }
}

// All other members are those of CID, which works on the five above alone.
Object.setPrototypeOf(Link.prototype, CID.prototype)
