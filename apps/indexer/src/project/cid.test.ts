import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { base32 } from 'multiformats/bases/base32'
import type { Memory } from 'repo-stream'
import { createRandom } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import { isCid, writeCidBytes, writeCidText } from './cid.ts'

const samples = join(import.meta.dirname, '..', '..', '..', '..', '..', 'shared', 'samples', 'interop', 'syntax')
if (!existsSync(samples)) console.log('the interop samples are missing: their CIDs are not tried')

function toBytes(text: string): Uint8Array | undefined {
  const source = memoryOf(new TextEncoder().encode(text))
  const target = memoryOf(new Uint8Array(200))
  const end = writeCidBytes(source, 0, source.bytes.length, target, 0)
  return end < 0 ? undefined : target.bytes.slice(0, end)
}

function memoryOf(bytes: Uint8Array): Memory {
  return { bytes, view: new DataView(bytes.buffer) }
}

function toText(bytes: Uint8Array): string {
  const target = new Uint8Array(400)
  return Buffer.from(target.subarray(0, writeCidText(bytes, 0, bytes.length, target, 0))).toString()
}

test('CIDs of every length go to text and back', () => {
  const random = createRandom(1)
  for (let length = 0; length <= 96; length++) {
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

test('a CID has at most 100 bytes as text', () => {
  const bytes = (length: number) => Uint8Array.from([1, 0x55, 0, length, ...new Uint8Array(length)])
  expect(toBytes(base32.encode(bytes(96)))).toHaveLength(100)
  expect(toBytes(base32.encode(bytes(97)))).toBeUndefined()
})

test('a CID is version 1, three varints in their shortest form, and as many bytes as the last one says', () => {
  const digest = new Array<number>(32).fill(0x80)
  const isOne = (...bytes: number[]) => {
    const around = Uint8Array.of(1, ...bytes, 0, 0) // what comes after it is no part of it
    return isCid(around, 1, 1 + bytes.length)
  }
  expect(isOne(1, 0x71, 0x12, 0x20, ...digest)).toBe(true)
  expect(isOne(1, 0x71, 0x1e, 0x20, ...digest)).toBe(true)
  expect(isOne(1, 0xb0, 0xa4, 0xcc, 0x05, 0x12, 0x20, ...digest)).toBe(true)
  expect(isOne(1, 0x80, 0x12, 0x20, 31, ...digest.slice(1))).toBe(true)
  expect(isOne(0, 0x71, 0x12, 0x20, ...digest)).toBe(false)
  expect(isOne(2, 0x71, 0x12, 0x20, ...digest)).toBe(false)
  expect(isOne(1, 0x80, 0x12, 0x20, ...digest)).toBe(false)
  expect(isOne(1, 0xf1, 0x00, 0x12, 0x20, ...digest)).toBe(false)
  expect(isOne(1, 0x71, 0x12, 0xa0, 0x00, ...digest)).toBe(false)
  expect(isOne(1, 0x71, 0x12, 0x1f, ...digest)).toBe(false)
  expect(isOne(1, 0x71, 0x12, 0x21, ...digest)).toBe(false)
  for (const cut of [[], [1], [1, 0x71], [1, 0x71, 0], [1, 0x71, 0x80], [1, 0x71, 0x12, 0x20]])
    expect(isOne(...cut), String(cut)).toBe(false)
})

test('a character that is no digit is refused, wherever it stands', () => {
  const good = 'bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq'
  for (let place = 1; place < good.length; place++) {
    for (let code = 0; code < 128; code++) {
      const text = good.slice(0, place) + String.fromCharCode(code) + good.slice(place + 1)
      const isDigit = /[a-z2-7]/.test(text[place] ?? '')
      const bytes = toBytes(text)
      if (bytes !== undefined) expect(toText(bytes)).toBe(text)
      if (!isDigit) expect(bytes, text).toBeUndefined()
    }
  }
})

test.runIf(existsSync(samples))('no invalid CID of the interop samples is taken', () => {
  const lines = readFileSync(join(samples, 'cid_syntax_invalid.txt'), 'utf8').split('\n')
  for (const line of lines) if (line !== '' && !line.startsWith('#')) expect(toBytes(line), line).toBeUndefined()
})
