// A stretch of ASCII to look for in a block or in JSON that was written: compared four bytes at a time, which takes a fifth of
// the time of one by one.

export class Stretch {
  readonly text: string
  readonly length: number
  /** Big-endian words; the last one overlaps where the length is no multiple of four. */
  readonly #words: Int32Array
  readonly #last: number

  /** `text`: four characters or more. */
  constructor(text: string) {
    const bytes = Buffer.from(text)
    this.text = text
    this.length = bytes.length
    this.#words = Int32Array.from({ length: bytes.length >> 2 }, (_, i) => bytes.readInt32BE(i * 4))
    this.#last = bytes.readInt32BE(bytes.length - 4)
  }

  get firstWord(): number {
    return this.#words[0] ?? 0
  }

  /** Whether it stands at `start`, before `end`. */
  isAt(view: DataView, start: number, end: number): boolean {
    const { length } = this
    if (start + length > end || view.getInt32(start + length - 4) !== this.#last) return false
    const words = this.#words
    for (let i = 0, at = start; i < words.length; i++, at += 4) if (view.getInt32(at) !== words[i]) return false
    return true
  }
}
