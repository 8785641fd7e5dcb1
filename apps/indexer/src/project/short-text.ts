// Writes an at-uri or a did as rows hold it (short-forms.ts): without the prefix that nearly all have, with one character for
// the collection. A value that does not fit is written whole; one that could be taken for a short form is marked.
import type { CborReader } from './cbor.ts'
import { escapeMark, lastCode, plcSuffixBytes, type TextForm } from './short-forms.ts'
import type { Output } from './text.ts'

/** The text from `start` to where the reader is; gives how many bytes it has in full. */
export function writeShortText(reader: CborReader, output: Output, start: number, form: TextForm): number {
  const { view, position: end } = reader
  const value = output.length
  if (form.prefix.isAt(view, start, end)) {
    if (writeRest(reader, output, start + form.prefix.length, form)) return end - start
    output.length = value
  }
  const isMarked = !form.whole.isAt(view, start, end)
  if (isMarked) output.bytes[output.length++] = escapeMark
  output.copyText(reader, start, end)
  return output.length - value - (isMarked ? 1 : 0)
}

/** What follows the prefix; false if it would not be understood. */
function writeRest(reader: CborReader, output: Output, start: number, form: TextForm): boolean {
  const { bytes, view, position: end } = reader
  if (bytes[start] === escapeMark || form.whole.isAt(view, start, end)) return false
  const { words } = form
  const middle = start + plcSuffixBytes
  for (let i = 0; i < words.length; i++) {
    const word = words[i]
    if (word === undefined || !word.stretch.isAt(view, middle, end)) continue
    if (!output.copyAbove(reader, start, middle, lastCode)) return false
    output.bytes[output.length++] = word.code
    return output.copyAbove(reader, middle + word.stretch.length, end, lastCode)
  }
  return output.copyAbove(reader, start, end, lastCode)
}
