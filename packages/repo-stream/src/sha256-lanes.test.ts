// SHA-256 in WebAssembly against node:crypto, and key heights against the vectors.
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { keyHeight } from './index.ts'
import { createLanes, lanes, maxLaneBytes } from './sha256-lanes.ts'

const heights = fileURLToPath(new URL('../../../../shared/samples/interop/mst/key_heights.json', import.meta.url))

test('four lanes give the hashes of node:crypto for messages of every length, in any mix', () => {
  const hashes = createLanes()
  if (hashes === undefined) throw new Error('this machine has no SIMD')
  const random = Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 167 + (i >> 3)) & 255))
  for (let round = 0; round < 500; round++) {
    const messages = Array.from({ length: lanes }, (_, lane) => {
      const from = (round * 31 + lane * 997) % 4000
      return random.subarray(from, from + ((round * 7 + lane * 13) % (maxLaneBytes + 1)))
    })
    for (const [lane, message] of messages.entries()) hashes.put(lane, message, 0, message.length)
    hashes.run()
    for (const [lane, message] of messages.entries()) {
      const words = Array.from({ length: 8 }, (_, i) => (hashes.word(lane, i) >>> 0).toString(16).padStart(8, '0'))
      expect(words.join('')).toBe(createHash('sha256').update(message).digest('hex'))
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
