// Checks the signature of a commit with P-256 or K-256. Node accepts high-S and odd lengths, the protocol does not
// (https://atproto.com/specs/cryptography): both are refused here. About 0.5 ms on a pool thread.
import { verify as nodeVerify } from 'node:crypto'
import { type PublicKey, parsePublicKey } from './public-key.ts'
import type { Commit } from './types.ts'

/** Checks an ECDSA signature over the SHA-256 of `message`; `signature` is r and s, 32 bytes each, s in its lower half. */
export type VerifySignature = (key: PublicKey, message: Uint8Array, signature: Uint8Array) => boolean | Promise<boolean>

export interface VerifyCommitOptions {
  /** A faster verifier than node:crypto. Length and low-S are checked before it is called. */
  readonly verifySignature?: VerifySignature | undefined
}

/**
 * Is the commit signed by `key`, a did:key or the multibase of a DID document's verification method?
 * False for a wrong signature; throws `KeyUnusable` for a key that is none.
 */
export async function verifyCommit(commit: Commit, key: string, options: VerifyCommitOptions = {}): Promise<boolean> {
  const { sig, signedBytes } = commit
  const { verifySignature = verifyOnPool } = options
  for (const publicKey of parsePublicKey(key)) {
    if (sig.length !== 64 || !isLowS(sig, publicKey.halfOrder)) continue
    if (await verifySignature(publicKey, signedBytes, sig)) return true
  }
  return false
}

function isLowS(signature: Uint8Array, halfOrder: Uint8Array): boolean {
  return Buffer.compare(signature.subarray(32), halfOrder) <= 0
}

function verifyOnPool(key: PublicKey, message: Uint8Array, signature: Uint8Array): Promise<boolean> {
  return new Promise((resolve, reject) => {
    nodeVerify('sha256', message, { key: key.keyObject, dsaEncoding: 'ieee-p1363' }, signature, (error, valid) => {
      if (error === null) resolve(valid)
      else reject(error)
    })
  })
}
