// Shortens JSON text that has just been written, in place: each of the stretches that posts repeat (short-forms.ts) becomes
// one character. `JsonPlaces` is told of each key while the text is written, so that nothing else is looked at again.
import { jsonWords, type Word } from './short-forms.ts'
import type { Output } from './text.ts'

/** Where stretches may start: at the brace or comma before one of their first keys. */
export class JsonPlaces {
  readonly #places: number[] = []
  /** An array that is emptied gives up its memory. */
  #count = 0

  clear(): void {
    this.#count = 0
  }

  /** A key of `length` bytes that starts with `first` is about to be written, behind the brace or comma at `place`. */
  note(first: number, length: number, place: number): void {
    if (length < keyLengths && startsWord[first * keyLengths + length] === 1) this.#places[this.#count++] = place
  }

  /** What the output holds from the first place on is shortened. */
  shorten(output: Output): void {
    const places = this.#places
    const { bytes, view, length: end } = output
    let from = 0
    let to = 0
    for (let i = 0; i < this.#count; i++) {
      const place = places[i] ?? 0
      const word = place < from ? undefined : findWord(view, place, end)
      if (word === undefined) continue
      to = to === 0 ? place : move(output, from, place, to)
      from = place + word.stretch.length
      bytes[to++] = word.code
    }
    if (to > 0) output.length = move(output, from, end, to)
  }
}

const keyLengths = 16
const startsWord = new Uint8Array(256 * keyLengths)
const wordsByStart = new Map<number, Word[]>()
for (const word of jsonWords) {
  const { text, firstWord } = word.stretch
  const key = text.slice(2, text.indexOf('"', 2))
  startsWord[key.charCodeAt(0) * keyLengths + key.length] = 1
  wordsByStart.set(firstWord, [...(wordsByStart.get(firstWord) ?? []), word])
}

function findWord(view: DataView, at: number, end: number): Word | undefined {
  const words = wordsByStart.get(view.getInt32(at))
  if (words === undefined) return undefined
  for (let i = 0; i < words.length; i++) {
    const word = words[i]
    if (word?.stretch.isAt(view, at, end) === true) return word
  }
  return undefined
}

/** To an earlier place; gives where it ends there. For stretches as short as these a loop beats `copyWithin`. */
function move({ bytes, view }: Output, start: number, end: number, to: number): number {
  let from = start
  let out = to
  for (; from + 4 <= end; from += 4, out += 4) view.setInt32(out, view.getInt32(from))
  for (; from < end; from++) bytes[out++] = bytes[from] ?? 0
  return out
}
