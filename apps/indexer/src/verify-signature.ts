// Checks ECDSA signatures: K-256 by libsecp256k1 (npm `secp256k1`, prebuilt), the rest by node:crypto on its thread pool.
// 60 µs against 470 on one core of an EPYC (bench:pipeline, `tiny repos, full`). Where there is no prebuilt binary node:crypto
// does all; the package's own fallback in JavaScript is slower than that and is not used.
import { hash, verify } from 'node:crypto'
import { createRequire } from 'node:module'
import type { PublicKey, VerifySignature } from 'repo-stream'

interface Secp256k1 {
  /** A signature of 64 bytes, a hash, a point of 33 or 65. False for a high s, too; throws where r or s is no number below the order. */
  ecdsaVerify(signature: Uint8Array, digest: Uint8Array, point: Uint8Array): boolean
}

const native = loadNative()

/** For `verifyCommit`, which has checked length and low s. */
export const verifySignature: VerifySignature = (key, message, signature) => {
  if (key.curve === 'k256' && native !== undefined) {
    return verifyNatively(native, { key, signature, digest: hash('sha256', message, 'buffer') })
  }
  const { keyObject } = key
  return new Promise((resolve, reject) => {
    verify('sha256', message, { key: keyObject, dsaEncoding: 'ieee-p1363' }, signature, (error, valid) => {
      if (error === null) resolve(valid)
      else reject(error)
    })
  })
}

/** The key's own object, which costs more than the verification, is made only to tell a bad key from a bad signature. */
function verifyNatively(
  { ecdsaVerify }: Secp256k1,
  { key, signature, digest }: { key: PublicKey; signature: Uint8Array; digest: Uint8Array },
): boolean {
  try {
    return ecdsaVerify(signature, digest, key.point)
  } catch {
    return key.keyObject.type !== 'public' // throws for a bad key; else it was the signature
  }
}

function loadNative(): Secp256k1 | undefined {
  try {
    return createRequire(import.meta.url)('secp256k1/bindings.js')
  } catch {
    return undefined
  }
}
