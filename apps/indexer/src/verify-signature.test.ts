// The official vectors of atproto, and what they leave out, on the path that the indexer takes.
import { existsSync, readFileSync } from 'node:fs'
import { base58btc } from 'multiformats/bases/base58'
import { type Commit, verifyCommit } from 'repo-stream'
import { makeSigningKey } from 'repo-stream/fixtures'
import { describe, expect, test } from 'vitest'
import { verifySignature } from './verify-signature.ts'

const message = Buffer.from('signed')
const vectors = new URL('../../../../shared/samples/interop/crypto/signature-fixtures.json', import.meta.url)

function commitOf(signedBytes: Uint8Array, sig: Uint8Array): Commit {
  const cid = new Uint8Array(36)
  return { did: 'did:plc:a', version: 3, data: cid, rev: '2222222222222', prev: null, sig, cid, signedBytes }
}

const isSigned = (key: string, bytes: Uint8Array, signature: Uint8Array) =>
  verifyCommit(commitOf(bytes, signature), key, { verifySignature })

describe.runIf(existsSync(vectors))('the interop vectors', () => {
  const fixtures: Record<string, string>[] = existsSync(vectors) ? JSON.parse(readFileSync(vectors, 'utf8')) : []
  test.each(fixtures)('$comment', async ({ messageBase64, signatureBase64, publicKeyDid, validSignature }) => {
    const signed = Buffer.from(messageBase64 ?? '', 'base64')
    const signature = Buffer.from(signatureBase64 ?? '', 'base64')
    expect(await isSigned(publicKeyDid ?? '', signed, signature)).toBe(validSignature)
  })
})

test('a point off the curve is no usable key', async () => {
  const key = 'did:key:zQ3shZc2QzApp2oymGvQbzP8eKheVshBHbU4ZYjeXqwSKEn6N' // the example of the specification
  const signature = makeSigningKey('signer').sign(message)
  expect(await isSigned(key, message, signature)).toBe(false)
  const bytes = base58btc.decode(key.slice('did:key:'.length))
  for (let last = 0; last < 16; last++) {
    bytes[34] = last
    const answer = isSigned(`did:key:${base58btc.encode(bytes)}`, message, signature)
    await answer.then(
      (signed) => expect(signed).toBe(false),
      (error: unknown) => expect(error).toMatchObject({ code: 'KeyUnusable' }),
    )
  }
  const noPoint = base58btc.encode(Uint8Array.from([0xe7, 0x01, 2, ...new Uint8Array(32).fill(0xff)]))
  await expect(isSigned(`did:key:${noPoint}`, message, signature)).rejects.toMatchObject({ code: 'KeyUnusable' })
})

describe.each(['K-256', 'P-256'] as const)('a %s key', (curve) => {
  const key = makeSigningKey('signer', { curve })

  test('accepts its own signature alone', async () => {
    const signature = key.sign(message)
    expect(await isSigned(key.did, message, signature)).toBe(true)
    expect(await isSigned(key.did, Buffer.from('other'), signature)).toBe(false)
    expect(await isSigned(makeSigningKey('another', { curve }).did, message, signature)).toBe(false)
  })

  test('refuses every signature with one bit flipped, without an error', async () => {
    for (let byte = 0; byte < 64; byte += 7) {
      const signature = Uint8Array.from(key.sign(message))
      signature[byte] = (signature[byte] ?? 0) ^ 1
      expect(await isSigned(key.did, message, signature)).toBe(false)
    }
  })

  test.each([
    ['zero r', new Uint8Array(64).fill(1, 32)],
    ['zero s', new Uint8Array(64).fill(1, 0, 32)],
    ['an r past the order', new Uint8Array(64).fill(0xff, 0, 32).fill(1, 32)],
    ['63 bytes', new Uint8Array(63).fill(1)],
    ['no bytes', new Uint8Array(0)],
  ])('refuses %s, without an error', async (_, signature) => {
    expect(await isSigned(key.did, message, signature)).toBe(false)
  })
})
