// What a repo's rows leave behind for the next repo.
import { expect, it } from 'vitest'
import { RowBuffers } from './row-buffers.ts'
import { appendTestRow } from './testing-append.ts'

const KiB = 1024
const shape = { columns: [], generic: false }
const noFields = { collection: '', digest: new Uint8Array(32), fields: new Uint8Array(0) }

/** The large stretches of memory that rows of 66 bytes lie in. */
function fill(buffers: RowBuffers, repo: number, rows: number): { memory: ArrayBufferLike[]; give: () => void } {
  const buffer = buffers.take(shape)
  for (let i = 0; i < rows; i++)
    appendTestRow(buffer, repo, { ...noFields, rkey: `rkey-${String(i).padStart(7, '0')}` })
  const pieces = buffer.take()
  for (const piece of pieces) expect(piece.readBigInt64BE(6)).toBe(BigInt(repo))
  return {
    memory: pieces.map(({ buffer }) => buffer).filter(({ byteLength }) => byteLength >= 128 * KiB),
    give: () => buffers.give(shape, buffer),
  }
}

it('writes the rows of a repo to the memory of one before it, and never to that of one whose rows are still looked at', () => {
  const buffers = new RowBuffers()
  const first = fill(buffers, 1, 20_000)
  const other = fill(buffers, 2, 20_000)
  for (const memory of other.memory) expect(first.memory).not.toContain(memory)
  first.give()
  const next = fill(buffers, 3, 20_000)
  expect(next.memory.length).toBeGreaterThan(3)
  for (const memory of next.memory) expect(first.memory).toContain(memory)
  other.give()
  next.give()
})

it('keeps 16 MiB of such memory at most', () => {
  const buffers = new RowBuffers()
  const repos = [1, 2, 3, 4].map((repo) => fill(buffers, repo, 100_000)) // 6.3 MiB each
  for (const { give } of repos) give()
  let kept = 0
  for (let bytes = 16 * KiB; bytes <= 256 * KiB; bytes *= 2) {
    while (buffers.chunks.take(bytes) !== undefined) kept += bytes
  }
  expect(kept).toBeGreaterThan(15 * KiB * KiB)
  expect(kept).toBeLessThanOrEqual(16 * KiB * KiB)
})
