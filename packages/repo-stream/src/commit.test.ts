// The signed root: decoding, the bytes that the signature covers, and the check of the signature.
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { finish } from '../fixtures/driving.ts'
import { buildRepo, type Curve, encodeRecord, makeDid, makeSigningKey } from '../fixtures/index.ts'
import { rawCommit, rawRecord } from '../fixtures/raw-repo.ts'
import { decodeCommit } from './commit.ts'
import { type Commit, parsePublicKey, verifyCommit } from './index.ts'

const vectors = fileURLToPath(new URL('../../../../shared/samples/interop/crypto/', import.meta.url))
const root = rawRecord({ e: [], l: null })

async function commitOf(curve: Curve): Promise<{ commit: Commit; key: string }> {
  const signingKey = makeSigningKey('commit', { curve })
  const { car } = buildRepo({ did: makeDid('commit'), signingKey, records: [] })
  const { commit, driver } = await finish(car, {})
  await driver.close()
  return { commit, key: signingKey.did }
}

describe('a commit', () => {
  test('gives its fields and exactly the bytes that were signed', () => {
    const { bytes, cid } = rawCommit(root)
    const commit = decodeCommit(bytes, cid)
    const { did, rev, prev, data } = commit
    expect({ rev, prev, data: Buffer.from(data) }).toEqual({
      rev: '3jzfcijpj2z2a',
      prev: null,
      data: Buffer.from(root.cid),
    })
    const link = Buffer.from(encodeRecord({ data: null })).subarray(0, 6) // the map's head, then the key `data`
    expect(commit.signedBytes[0]).toBe(0xa5)
    expect(Buffer.from(commit.signedBytes).includes(link.subarray(1))).toBe(true)
    expect(Buffer.from(commit.signedBytes).includes('sig')).toBe(false)
    expect(commit.signedBytes.length).toBe(bytes.length - 'sig'.length - 1 - 2 - 64)
    expect(did).toMatch(/^did:plc:/)
  })

  test('keeps a link to an earlier commit', () => {
    const earlier = rawCommit(root)
    const { prev } = decodeCommit(rawRecordWith({ prev: earlier }).bytes, root.cid)
    expect(Buffer.from(prev ?? [])).toEqual(Buffer.from(earlier.cid))
  })
})

describe('the signature', () => {
  test.each(['P-256', 'K-256'] as const)('of a %s key is right for its key only', async (curve) => {
    const { commit, key } = await commitOf(curve)
    expect(await verifyCommit(commit, key)).toBe(true)
    expect(await verifyCommit(commit, key.slice('did:key:'.length))).toBe(true)
    expect(await verifyCommit(commit, makeSigningKey('another', { curve }).did)).toBe(false)
    expect(await verifyCommit({ ...commit, signedBytes: commit.signedBytes.with(9, 1) }, key)).toBe(false)
    expect(await verifyCommit({ ...commit, sig: commit.sig.with(40, (commit.sig[40] ?? 0) ^ 1) }, key)).toBe(false)
    expect(await verifyCommit({ ...commit, sig: commit.sig.subarray(1) }, key)).toBe(false)
  })

  test.each(['P-256', 'K-256'] as const)('of a %s key is refused with a high s', async (curve) => {
    const { commit, key } = await commitOf(curve)
    const order = {
      'P-256': 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n,
      'K-256': 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n,
    }
    const s = BigInt(`0x${Buffer.from(commit.sig.subarray(32)).toString('hex')}`)
    const high = Buffer.from((order[curve] - s).toString(16).padStart(64, '0'), 'hex')
    expect(await verifyCommit({ ...commit, sig: Buffer.concat([commit.sig.subarray(0, 32), high]) }, key)).toBe(false)
  })

  test('can be checked by another verifier, which is given the point, the bytes and the signature', async () => {
    const { commit, key } = await commitOf('K-256')
    const calls: unknown[] = []
    const verifySignature = (...given: unknown[]) => {
      calls.push(given)
      return true
    }
    expect(await verifyCommit(commit, key, { verifySignature })).toBe(true)
    expect(calls).toEqual([[expect.objectContaining({ curve: 'k256' }), commit.signedBytes, commit.sig]])
  })

  test('cannot be checked with what is no key', async () => {
    const { commit } = await commitOf('K-256')
    for (const key of [
      '',
      'did:key:',
      'did:key:z',
      'did:plc:abc',
      'z0',
      `z${'1'.repeat(500)}`,
      'did:key:zQ3sh',
      'z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK',
    ]) {
      await expect(verifyCommit(commit, key)).rejects.toMatchObject({ code: 'KeyUnusable' })
    }
  })

  test('agrees with the interop vectors, in every form of their keys', async ({ skip }) => {
    if (!existsSync(vectors)) skip('the samples are not there')
    const fixtures: unknown = JSON.parse(readFileSync(`${vectors}signature-fixtures.json`, 'utf8'))
    if (!Array.isArray(fixtures)) throw new Error('no list of vectors')
    const { commit } = await commitOf('K-256')
    for (const vector of fixtures) {
      const signedBytes = Buffer.from(vector.messageBase64, 'base64')
      const sig = Buffer.from(vector.signatureBase64, 'base64')
      for (const key of [vector.publicKeyDid, vector.publicKeyMultibase]) {
        expect(await verifyCommit({ ...commit, signedBytes, sig }, key), vector.comment).toBe(vector.validSignature)
      }
    }
  })

  test('is checked against an uncompressed key without a codec, as in old DID documents', async () => {
    const { base58btc } = await import('multiformats/bases/base58')
    for (const curve of ['P-256', 'K-256'] as const) {
      const { commit, key } = await commitOf(curve)
      const [parsed] = parsePublicKey(key)
      const { x = '', y = '' } = parsed?.keyObject.export({ format: 'jwk' }) ?? {}
      const point = Buffer.concat([Buffer.of(4), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')])
      expect(await verifyCommit(commit, base58btc.encode(point))).toBe(true)
    }
  })
})

function rawRecordWith({ prev }: { prev: { cid: Uint8Array } }): { bytes: Uint8Array } {
  const { bytes } = rawCommit(root)
  const [before, after] = split(Buffer.from(bytes), Buffer.from('\x64prev\xf6', 'latin1'))
  return {
    bytes: Buffer.concat([
      before,
      Buffer.from('\x64prev', 'latin1'),
      Buffer.of(0xd8, 0x2a, 0x58, 0x25, 0),
      prev.cid,
      after,
    ]),
  }
}

function split(bytes: Buffer, at: Buffer): [Buffer, Buffer] {
  const from = bytes.indexOf(at)
  return [bytes.subarray(0, from), bytes.subarray(from + at.length)]
}
