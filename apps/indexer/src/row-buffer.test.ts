import { entryOf } from 'repo-stream'
import { createRandom } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import { encodeRow, RowBuffer, readRows } from './row-buffer.ts'
import { appendTestRow } from './testing-append.ts'

const seed = process.env.SEED ?? String(Date.now())
console.log(`SEED=${seed}`)

/** Rows of all sizes around those at which chunks end and copies change their way, from places that no word starts at. */
function* rowsOf(generic: boolean) {
  const random = createRandom(seed)
  const sizes = [...Array.from({ length: 300 }, (_, i) => i), 1_000, 1_024, 8_192, 65_536, 262_144, 300_000, 5, 0, 40]
  for (const size of sizes) {
    const repo = random.pick([1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40 + 7, Number.MAX_SAFE_INTEGER])
    const collection = random.pick(['a.b', 'com.example.one', 'x'.repeat(300)])
    const rkey = 'r'.repeat(1 + random.below(40))
    const digest = Uint8Array.from(random.bytes(32))
    const fields = encodeRow([Uint8Array.from(random.bytes(size))]).subarray(2)
    const key = generic ? [collection, rkey] : [rkey]
    const row = encodeRow([BigInt(repo), ...key, digest, null])
    // The row ends with its column, which is a null in `row`.
    const wanted = Buffer.concat([row.subarray(0, -4), fields])
    yield { repo, collection, rkey, digest, fields, wanted }
  }
}

test.each([false, true])(
  'rows are those of binary COPY, in one buffer after the other (with their collection: %s)',
  (generic) => {
    const buffer = new RowBuffer({ columns: ['one'], generic })
    for (let round = 0; round < 2; round++) {
      const wanted: Buffer[] = []
      const taken: Buffer[] = []
      let bytes = 0
      for (const [i, row] of [...rowsOf(generic)].entries()) {
        const { repo, collection, rkey, digest } = row
        const entry = entryOf({ collection, rkey, cid: digest, data: new Uint8Array(0) })
        const from = 1 + (i % 7)
        const memory = Buffer.alloc(from + row.fields.length + 9, 0xee)
        memory.set(row.fields, from)
        const view = new DataView(memory.buffer, memory.byteOffset, memory.length)
        buffer.appendRow(repo, entry, { memory: { bytes: memory, view }, from, to: from + row.fields.length })
        wanted.push(row.wanted)
        bytes += row.wanted.length
        expect(buffer.bytes).toBe(bytes)
        if (i % 50 !== 49) continue
        taken.push(...buffer.take())
        expect(buffer.rows).toBe(0)
        bytes = 0
      }
      taken.push(...buffer.take())
      expect(Buffer.concat(taken).equals(Buffer.concat(wanted))).toBe(true)
      const read = [...readRows(taken, generic)]
      expect(read.length).toBe(wanted.length)
      for (const [i, row] of [...rowsOf(generic)].entries()) {
        const one = read[i]
        expect([one?.collection, one?.rkey]).toEqual([generic ? row.collection : undefined, row.rkey])
        expect(one?.cid.equals(row.digest) && one.bytes.equals(row.wanted)).toBe(true)
      }
      buffer.reset()
    }
  },
)

test('a row that ends at the end of a chunk, or next to it, is whole', () => {
  for (let size = 900; size < 1_100; size++) {
    const buffer = new RowBuffer({ columns: ['one'], generic: false })
    const fields = encodeRow([new Uint8Array(size).fill(7)]).subarray(2)
    for (const rkey of ['a', 'b'])
      appendTestRow(buffer, 1, { collection: 'a.b', rkey, digest: new Uint8Array(32), fields })
    const row = (rkey: string) =>
      Buffer.concat([encodeRow([1n, rkey, new Uint8Array(32), null]).subarray(0, -4), fields])
    expect(Buffer.concat(buffer.take()).equals(Buffer.concat([row('a'), row('b')])), String(size)).toBe(true)
  }
})
