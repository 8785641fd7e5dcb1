// Reads a short body as JSON, on the thread that schedules and writes: an answer in, its value out. What would hold that thread up
// is refused before it is parsed, for a few compressed kilobytes can be millions of values.
import { IndexerError } from './errors.ts'
import type { HttpAnswer } from './http.ts'
import { readText } from './http-text.ts'

export interface JsonBounds {
  maxDepth: number
  /** Objects, lists, keys and commas together. */
  maxParts: number
}

/** Anything but JSON within `bounds` is a `BadResponse`. */
export async function readJson(answer: HttpAnswer, bounds: JsonBounds): Promise<unknown> {
  const text = await readText(answer)
  const excess = excessOf(text, bounds)
  if (excess !== undefined) throw badJson(answer, `JSON that ${excess}`, text)
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw badJson(answer, 'something that is not JSON', text, cause)
  }
}

/** What is no JSON it may misread, though not before the place where `JSON.parse` gives up. A page of 1,000 repos takes 0.2 ms, parsing 0.8. */
function excessOf(text: string, { maxDepth, maxParts }: JsonBounds): string | undefined {
  let depth = 0
  let parts = 0
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case 0x22: // "
        at = endOfString(text, at)
        break
      case 0x5b: // [
      case 0x7b: // {
        depth++
        parts++
        break
      case 0x5d: // ]
      case 0x7d: // }
        depth--
        break
      case 0x2c: // ,
      case 0x3a: // :
        parts++
    }
    if (depth > maxDepth) return `nests deeper than ${maxDepth}`
    if (parts > maxParts) return `has more than ${maxParts} parts`
  }
  return undefined
}

/** Of the quote that is not escaped: an even number of backslashes is before it. */
function endOfString(text: string, start: number): number {
  for (let end = start; ; ) {
    end = text.indexOf('"', end + 1)
    if (end < 0) return text.length
    let backslashes = 0
    while (text.charCodeAt(end - 1 - backslashes) === 0x5c) backslashes++
    if (backslashes % 2 === 0) return end
  }
}

function badJson({ url }: HttpAnswer, what: string, text: string, cause?: unknown): IndexerError {
  return new IndexerError('BadResponse', `${url.host} answered ${what}`, {
    ...(cause === undefined ? {} : { cause }),
    details: { url: url.href, begins: text.slice(0, 200) },
  })
}
