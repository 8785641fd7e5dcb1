// Which repos a listing had, in few bytes: ids of one page in, a byte or two for each out; and who of an earlier pass is missing in a
// later one, in one bit for each repo. Pure.

/** Ascending, each less the one before it, as LEB128: neighbours in `repos` take a byte. */
export function packIds(ids: readonly number[]): Uint8Array {
  const bytes: number[] = []
  let before = 0
  for (const id of ids.toSorted((a, b) => a - b)) {
    let rest = id - before
    before = id
    for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80)
    bytes.push(rest)
  }
  return Uint8Array.from(bytes)
}

export function* unpackIds(bytes: Uint8Array): Generator<number> {
  let id = 0
  let value = 0
  let factor = 1
  for (const byte of bytes) {
    value += (byte & 0x7f) * factor
    factor *= 0x80
    if (byte >= 0x80) continue
    id += value
    yield id
    value = 0
    factor = 1
  }
}

const idsPerChunk = 1 << 16
const bytesPerChunk = idsPerChunk / 8
/** 64 MiB for 537 million repos; those of a network that is larger, or of ids that lie too far apart, are compared in part. */
const maxChunks = 8192

/** Who was there before and is not now. A stretch of 65,536 ids takes memory when one of them is added. */
export class MissingIds {
  readonly #chunks = new Map<number, Uint8Array>()

  add(id: number): void {
    const index = Math.floor(id / idsPerChunk)
    let chunk = this.#chunks.get(index)
    if (chunk === undefined) {
      if (this.#chunks.size >= maxChunks) return
      chunk = new Uint8Array(bytesPerChunk)
      this.#chunks.set(index, chunk)
    }
    const bit = id % idsPerChunk
    chunk[bit >> 3] = (chunk[bit >> 3] ?? 0) | (1 << (bit & 7))
  }

  delete(id: number): void {
    const chunk = this.#chunks.get(Math.floor(id / idsPerChunk))
    const bit = id % idsPerChunk
    if (chunk) chunk[bit >> 3] = (chunk[bit >> 3] ?? 0) & ~(1 << (bit & 7))
  }

  /** In ascending order within a stretch. */
  *[Symbol.iterator](): Generator<number> {
    for (const [index, chunk] of this.#chunks) {
      for (let place = 0; place < bytesPerChunk; place++) {
        const bits = chunk[place] ?? 0
        for (let bit = 0; bits >> bit > 0; bit++) if (bits & (1 << bit)) yield index * idsPerChunk + place * 8 + bit
      }
    }
  }
}
