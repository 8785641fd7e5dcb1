import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { base32 } from 'multiformats/bases/base32'
import { createRandom } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import { isCid, writeCidBytes, writeCidText } from './cid.ts'

const samples = join(import.meta.dirname, '..', '..', '..', '..', '..', 'shared', 'samples', 'interop', 'syntax')
if (!existsSync(samples)) console.log('the interop samples are missing: their CIDs are not tried')

function toBytes(text: string): Uint8Array | undefined {
  const source = new TextEncoder().encode(text)
  const target = new Uint8Array(200)
  const end = writeCidBytes(source, 0, source.length, target, 0)
  return end < 0 ? undefined : target.slice(0, end)
}

function toText(bytes: Uint8Array): string {
  const target = new Uint8Array(400)
  return Buffer.from(target.subarray(0, writeCidText(bytes, 0, bytes.length, target, 0))).toString()
}

test('CIDs of every length go to text and back', () => {
  const random = createRandom(1)
  for (let length = 0; length <= 90; length++) {
    const bytes = Uint8Array.from([1, 0x71, 0, length, ...random.bytes(length)])
    expect(isCid(bytes, 0, bytes.length)).toBe(true)
    expect(toText(bytes)).toBe(base32.encode(bytes))
    expect(toBytes(toText(bytes))).toEqual(bytes)
  }
})

test('text that is not exactly the CID is refused', () => {
  const good = 'bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq'
  expect(toBytes(good)).toHaveLength(36)
  const near = [
    good.toUpperCase(),
    good.slice(0, -1),
    `${good}a`,
    `${good.slice(0, -1)}r`,
    `z${good.slice(1)}`,
    ` ${good}`,
    '',
    'b',
  ]
  for (const text of [...near, good.replace('4', '1'), good.replace('bafy', 'bagy')])
    expect(toBytes(text), text).toBeUndefined()
})

test.runIf(existsSync(samples))('no invalid CID of the interop samples is taken', () => {
  const lines = readFileSync(join(samples, 'cid_syntax_invalid.txt'), 'utf8').split('\n')
  for (const line of lines) if (line !== '' && !line.startsWith('#')) expect(toBytes(line), line).toBeUndefined()
})
