// Records of one kind are alike to the byte but for the text of their columns: a like has the same keys and lengths as the one
// before it. So where a record has all the bytes that are no such text of an earlier one, its columns lie where they lay there,
// and nothing needs to be parsed. In: a block. Out: the layout that it shares, by its length. A record's outcome but for its
// columns depends on those bytes alone, so none is taken for what it is not.
import { type CborReader, cborMajor } from './cbor.ts'
import type { Projector } from './projector.ts'

/** Records that share a layout are shorter. One is known for each length. */
const maxRecordBytes = 1_023
/**
 * A length is worth a layout when so many of so many records without one have it, as likes and follows do. Layouts for every length
 * that posts have cost more, in lookups that fail and in memory that leaves the processor's caches, than they save.
 */
const enoughRecords = 64
const countedRecords = 4_096
/** Words are compared, so what lies between two texts must hold one. */
const wordBytes = 4

export interface Layout {
  readonly projector: Projector
  /** Of the projector's columns, counted from the record's start. */
  readonly places: Int32Array
  /** Offset and word by turns: all bytes that are no text of a column. */
  readonly fixed: Int32Array
}

export class Layouts {
  readonly #byLength = new Array<Layout | undefined>(maxRecordBytes + 1).fill(undefined)
  readonly #counts = new Uint8Array(maxRecordBytes + 1)
  #counted = 0

  /** Of the record that was opened. */
  recall(reader: CborReader): Layout | undefined {
    const length = reader.end - reader.start
    const known = length > maxRecordBytes ? undefined : this.#byLength[length]
    return known !== undefined && isAt(known.fixed, reader) ? known : undefined
  }

  /** The record has just been found to be one of `projector`, with the text of its `$type` up to `typeEnd`. */
  learn(reader: CborReader, projector: Projector, typeEnd: number): void {
    const length = reader.end - reader.start
    if (length > maxRecordBytes) return
    if (++this.#counted === countedRecords) {
      this.#counted = 0
      this.#counts.fill(0)
    }
    const count = (this.#counts[length] ?? 0) + 1
    this.#counts[length] = count % enoughRecords
    const places = count < enoughRecords ? undefined : projector.placesFrom(reader.start)
    if (places === undefined) return
    this.#byLength[length] = { projector, places, fixed: fixedWords(reader, places, typeEnd) }
  }
}

function isAt(fixed: Int32Array, { view, start }: CborReader): boolean {
  for (let i = 0; i < fixed.length; i += 2) {
    if (view.getInt32(start + (fixed[i] ?? 0)) !== fixed[i + 1]) return false
  }
  return true
}

function fixedWords(reader: CborReader, places: Int32Array, typeEnd: number): Int32Array {
  const { view, start, end } = reader
  const words: number[] = []
  const addWords = (from: number, to: number) => {
    for (let at = from; at < to; at += wordBytes) {
      const place = Math.min(at, to - wordBytes)
      words.push(place - start, view.getInt32(place))
    }
  }
  let from = start
  for (const { textStart, textEnd } of textsOf(reader, places)) {
    const leaves = end - textEnd
    if (textEnd === typeEnd || textStart - from < wordBytes || (leaves > 0 && leaves < wordBytes)) continue
    addWords(from, textStart)
    from = textEnd
  }
  addWords(from, end)
  return Int32Array.from(words)
}

/** In the order in which they lie. */
function textsOf(reader: CborReader, places: Int32Array): { textStart: number; textEnd: number }[] {
  const texts: { textStart: number; textEnd: number }[] = []
  for (const place of places) {
    if (place < 0) continue
    reader.position = reader.start + place
    reader.readHead()
    if (reader.major === cborMajor.text) texts.push({ textStart: reader.takeBody(), textEnd: reader.position })
  }
  return texts.sort((a, b) => a.textStart - b.textStart)
}
