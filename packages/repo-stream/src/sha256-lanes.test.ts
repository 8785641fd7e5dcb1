// SHA-256 in WebAssembly against node:crypto, and key heights against the vectors.
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { keyHeight } from './index.ts'
import { zeroPairs } from './sha256.ts'
import { batchMessages, createLanes, maxLaneBytes } from './sha256-lanes.ts'

const heights = fileURLToPath(new URL('../../../../shared/samples/interop/mst/key_heights.json', import.meta.url))

test('a batch tells the first message whose zeros are not those of node:crypto, for every length and number of messages', () => {
  const lanes = createLanes()
  if (lanes === undefined) throw new Error('this machine has no SIMD')
  const random = Buffer.from(Array.from({ length: 8192 }, (_, i) => (i * 167 + (i >> 3) * 59 + (i >> 9)) & 255))
  for (let round = 0; round < 500; round++) {
    const count = 1 + (round % batchMessages)
    const start = round % 100
    const messages: { from: number; to: number; zeros: number }[] = []
    for (let i = 0, from = 0; i < count; i++) {
      const to = from + ((round * 7 + i * 13) % (maxLaneBytes + 1))
      messages.push({ from, to, zeros: zeroPairs(random.subarray(start + from, start + to)) })
      from = to
    }
    const end = start + (messages.at(-1)?.to ?? 0)
    const check = (wrong: number[]): number => {
      for (const [i, { from, to, zeros }] of messages.entries()) {
        lanes.put(i, from, to, wrong.includes(i) ? (zeros + 1) % 16 : zeros)
      }
      return lanes.check(random, start, end, count)
    }
    expect(check([])).toBe(-1)
    const wrong = [(round * 31) % count, (round * 17) % count]
    expect(check(wrong)).toBe(Math.min(...wrong))
  }
})

test('a batch counts zeros of every number that a search finds', () => {
  const lanes = createLanes()
  if (lanes === undefined) throw new Error('this machine has no SIMD')
  const found = new Map<number, Buffer>()
  for (let i = 0; found.size < 7; i++) {
    const message = Buffer.from(`app.bsky.feed.like/${i}`)
    found.set(zeroPairs(message), message)
  }
  for (const [zeros, message] of found) {
    for (let expected = 0; expected < 16; expected++) {
      lanes.put(0, 0, message.length, expected)
      expect(lanes.check(message, 0, message.length, 1)).toBe(expected === zeros ? -1 : 0)
    }
  }
})

test('key heights are those of the interop vectors', ({ skip }) => {
  if (!existsSync(heights)) skip('the samples are not there')
  const vectors: unknown = JSON.parse(readFileSync(heights, 'utf8'))
  if (!Array.isArray(vectors)) throw new Error('no list of vectors')
  for (const { key, height } of vectors) expect(keyHeight(key), key).toBe(height)
})

test('a key may be given as bytes', () => {
  expect(keyHeight(Buffer.from('app.bsky.feed.post/454397e440ec'))).toBe(keyHeight('app.bsky.feed.post/454397e440ec'))
})
