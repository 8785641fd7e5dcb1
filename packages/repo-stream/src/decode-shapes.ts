// What the decoder learns about maps: which keys follow which, so that a known key is one comparison of a few words.
// A tree: a shape is one key in one place, `next` the keys seen after it, `child` the place of the maps inside its value.
// It holds at most `maxShapes`; a sender of ever new keys makes it forget all and start again, never grow.
import { Buffer } from 'node:buffer'
import { type MapMaker, maxMadeKeys } from './make-map.ts'

export interface Shape {
  /** The first 12 bytes as little-endian words, and the masks that cut what the key does not fill. */
  readonly word0: number
  readonly mask0: number
  readonly word1: number
  readonly mask1: number
  readonly word2: number
  readonly mask2: number
  /** The key as it is encoded, with its CBOR head: shorter keys are smaller, so byte order is DAG-CBOR's order. */
  readonly key: Uint8Array
  readonly length: number
  readonly name: string
  /** The names of the map's keys up to this one; of more than `maxMadeKeys` the first. */
  readonly names: readonly string[]
  next: Shape | null
  /** The next of the shapes that share a predecessor. */
  other: Shape | null
  child: Shape | null
  followers: number
  /** Makes the map that ends with this key, once many have. */
  maker: MapMaker | null
  uses: number
}

const maxShapes = 4096
const maxFollowers = 16
const maxKeyLength = 64
const empty = new Uint8Array(0)
const noWords = Buffer.alloc(24)

let count = 0

/** The place of the outermost map. */
export const rootPlace = newShape(empty, '', [])

/** The place of the maps inside the value of this shape. */
export function placeInside(shape: Shape): Shape {
  shape.child ??= newShape(empty, '', [])
  return shape.child
}

/** A shape for a key that is met for the first time; remembered where there is room. */
export function addShape(previous: Shape, key: Uint8Array, name: string): Shape {
  if (key.length > maxKeyLength || previous.followers >= maxFollowers) {
    return newShape(key, name, follow(previous.names, name))
  }
  if (count >= maxShapes) {
    rootPlace.child = null
    rootPlace.next = null
    rootPlace.followers = 0
    count = 0
  }
  count++
  const words = Buffer.alloc(24)
  words.set(key.subarray(0, 12))
  words.fill(255, 12, 12 + Math.min(12, key.length))
  // As a property's name the string is the engine's own copy, and storing under it is quicker.
  const own = Object.keys({ [name]: true })[0] ?? name
  const shape = newShape(key, own, follow(previous.names, own), words)
  append(previous, shape)
  return shape
}

/** Last, as what is met first is mostly what is met most. */
function append(previous: Shape, shape: Shape): void {
  previous.followers++
  let last = previous.next
  while (last?.other) last = last.other
  if (last === null) previous.next = shape
  else last.other = shape
}

function follow(names: readonly string[], name: string): readonly string[] {
  return names.length < maxMadeKeys ? [...names, name] : names
}

/** Not a class: the fields that one declares begin as undefined, and every number read from them is checked ever after. */
function newShape(key: Uint8Array, name: string, names: readonly string[], words = noWords): Shape {
  return {
    word0: words.readInt32LE(0),
    mask0: words.readInt32LE(12),
    length: key.length,
    other: null,
    word1: words.readInt32LE(4),
    mask1: words.readInt32LE(16),
    word2: words.readInt32LE(8),
    mask2: words.readInt32LE(20),
    next: null,
    maker: null,
    key,
    name,
    names,
    child: null,
    followers: 0,
    uses: 0,
  }
}
