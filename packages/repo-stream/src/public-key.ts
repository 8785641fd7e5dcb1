// Reads a repo's signing key: `did:key:z...`, the same as bare multibase (`Multikey`), or the legacy form of old DID
// documents: a point without a codec, whose curve stands elsewhere in the document. Such a point may lie on both curves.
import { createPublicKey, type KeyObject } from 'node:crypto'
import { base58btc } from 'multiformats/bases/base58'
import { RepoStreamError } from './errors.ts'

export interface PublicKey {
  readonly curve: 'p256' | 'k256'
  /** The point: 33 bytes compressed, or 65. */
  readonly point: Uint8Array
  /** Made when first asked for: 0.1 ms that a verifier of one's own spares. Throws `KeyUnusable` for a point off the curve. */
  readonly keyObject: KeyObject
  /** Half of the curve's order, rounded down, 32 bytes: the greatest s of a low-S signature. */
  readonly halfOrder: Uint8Array
}

interface Curve {
  readonly name: PublicKey['curve']
  /** Multicodec of a compressed key, as a varint. */
  readonly codec: Uint8Array
  /** What stands before the point in the key's SPKI form, by the point's length. */
  readonly spki: Readonly<Record<33 | 65, Uint8Array>>
  readonly halfOrder: Uint8Array
}

const fromHex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'))

const curves: readonly Curve[] = [
  {
    name: 'k256',
    codec: fromHex('e701'),
    spki: {
      33: fromHex('3036301006072a8648ce3d020106052b8104000a032200'),
      65: fromHex('3056301006072a8648ce3d020106052b8104000a034200'),
    },
    halfOrder: fromHex('7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0'),
  },
  {
    name: 'p256',
    codec: fromHex('8024'),
    spki: {
      33: fromHex('3039301306072a8648ce3d020106082a8648ce3d030107032200'),
      65: fromHex('3059301306072a8648ce3d020106082a8648ce3d030107034200'),
    },
    halfOrder: fromHex('7fffffff800000007fffffffffffffffde737d56d38bcf4279dce5617e3192a8'),
  },
]

/** The longest form has 89 characters. */
const maxKeyChars = 128

/**
 * The key that `text` gives; two keys, for a compressed point without a codec that lies on both curves. Whoever signs for
 * one of them cannot sign for the other, so a signature that fits either is the owner's. Throws `KeyUnusable`; a point that lies on
 * no curve may show only when the key is used.
 */
export function parsePublicKey(text: string): readonly PublicKey[] {
  const multibase = text.startsWith('did:key:') ? text.slice('did:key:'.length) : text
  if (!multibase.startsWith('z') || multibase.length > maxKeyChars) throw unusable(text, 'it is not base58 multibase')
  let bytes: Uint8Array
  try {
    bytes = base58btc.decode(multibase)
  } catch (cause) {
    throw unusable(text, 'it is not base58 multibase', cause)
  }
  const keys = bytes.length === 35 ? readMultikey(bytes) : readLegacy(bytes)
  if (keys.length === 0) throw unusable(text, noPoint)
  return keys
}

const noPoint = 'it is no point of P-256 or K-256'

function readMultikey(bytes: Uint8Array): LazyKey[] {
  const curve = curves.find(({ codec }) => codec[0] === bytes[0] && codec[1] === bytes[1])
  return curve === undefined ? [] : [new LazyKey(curve, bytes.subarray(2))]
}

/** Here only the point itself can tell its curve. */
function readLegacy(point: Uint8Array): LazyKey[] {
  if (point.length !== 33 && point.length !== 65) return []
  return curves.map((curve) => new LazyKey(curve, point)).filter((key) => key.isOnCurve())
}

class LazyKey implements PublicKey {
  readonly curve: PublicKey['curve']
  readonly point: Uint8Array
  readonly halfOrder: Uint8Array
  readonly #spki: Uint8Array
  #keyObject: KeyObject | undefined

  constructor({ name, halfOrder, spki }: Curve, point: Uint8Array) {
    this.curve = name
    this.point = point
    this.halfOrder = halfOrder
    this.#spki = spki[point.length === 65 ? 65 : 33]
  }

  get keyObject(): KeyObject {
    if (this.#keyObject !== undefined) return this.#keyObject
    const key = Buffer.concat([this.#spki, this.point])
    try {
      this.#keyObject = createPublicKey({ key, format: 'der', type: 'spki' })
      return this.#keyObject
    } catch (cause) {
      throw unusable(base58btc.encode(this.point), noPoint, cause)
    }
  }

  isOnCurve(): boolean {
    try {
      return this.keyObject.type === 'public'
    } catch {
      return false
    }
  }
}

function unusable(key: string, why: string, cause?: unknown): RepoStreamError {
  return new RepoStreamError('KeyUnusable', `the signing key cannot be used: ${why}`, {
    cause,
    details: { key: key.slice(0, 200) },
  })
}
