// Makes the object of a decoded map: the last shape of its keys and the values in, the object out. One that was made often
// is compiled to an object literal of these keys, which takes a third of the time of storing key by key (bench: decode).
// Where code from strings is forbidden (--disallow-code-generation-from-strings), all are stored key by key.
import type { RecordMap, RecordValue } from './decode-record.ts'
import type { Shape } from './decode-shapes.ts'

/** Takes the values in the order of the keys, and as many of them as there are keys. */
export type MapMaker = (...values: RecordValue[]) => RecordMap

/** Maps of more keys are stored key by key; values must fit in a call. Nothing is made where no code can be. */
export const maxMadeKeys = canCompile() ? 8 : 0

/** Compiling takes 30 us: a sender of ever new keys must not come to it often. */
const usesToCompile = 100

/** Counts the use; `shape.maker` is there from some use on. */
export function makeMap(shape: Shape, values: readonly RecordValue[]): RecordMap {
  const { names } = shape
  const map: RecordMap = {}
  for (let i = 0; i < names.length; i++) storeField(map, names[i] ?? '', values[i] ?? null)
  if (++shape.uses === usesToCompile) shape.maker = compileMaker(names)
  return map
}

export function storeField(map: RecordMap, name: string, value: RecordValue): void {
  if (name !== '__proto__') map[name] = value
  else Object.defineProperty(map, name, { value, enumerable: true, configurable: true, writable: true })
}

/** The names are the sender's: each becomes a string literal, which JSON's escapes keep closed. */
function compileMaker(names: readonly string[]): MapMaker | null {
  if (names.includes('__proto__')) return null // which a literal does not store
  const fields = names.map((name, i) => `${JSON.stringify(name)}: v${i}`)
  const maker: unknown = new Function(...names.map((_, i) => `v${i}`), `return { ${fields.join(', ')} }`)
  return isMaker(maker) ? maker : null
}

function isMaker(maker: unknown): maker is MapMaker {
  return typeof maker === 'function'
}

function canCompile(): boolean {
  try {
    return new Function('return true')() === true
  } catch {
    return false
  }
}
