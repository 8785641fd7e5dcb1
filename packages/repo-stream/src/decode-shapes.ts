// What the decoder learns about maps: which keys follow which, so that a known key is one comparison of a few words.
// A tree: a shape is one key in one place, `next` the keys seen after it, `child` the place of the maps inside its value.
// It holds at most `maxShapes`; a sender of ever new keys makes it forget all and start again, never grow.
import { Buffer } from 'node:buffer'

export class Shape {
  /** The key as it is encoded, with its CBOR head: shorter keys are smaller, so byte order is DAG-CBOR's order. */
  readonly key: Uint8Array
  readonly length: number
  readonly name: string
  /** False for `__proto__`, which an assignment would not store. */
  readonly plain: boolean
  /** The first 12 bytes as little-endian words, and the masks that cut what the key does not fill. */
  readonly word0: number
  readonly mask0: number
  readonly word1: number
  readonly mask1: number
  readonly word2: number
  readonly mask2: number
  next: Shape | null = null
  /** The next of the shapes that share a predecessor. */
  other: Shape | null = null
  child: Shape | null = null
  followers = 0

  constructor(key: Uint8Array, name: string, words = noWords) {
    this.key = key
    this.length = key.length
    this.name = name
    this.plain = name !== '__proto__'
    this.word0 = words.readInt32LE(0)
    this.word1 = words.readInt32LE(4)
    this.word2 = words.readInt32LE(8)
    this.mask0 = words.readInt32LE(12)
    this.mask1 = words.readInt32LE(16)
    this.mask2 = words.readInt32LE(20)
  }
}

const noWords = Buffer.alloc(24)

const maxShapes = 4096
const maxFollowers = 16
const maxKeyLength = 64
const empty = new Uint8Array(0)

let count = 0

/** The place of the outermost map. */
export const rootPlace = new Shape(empty, '')

/** The place of the maps inside the value of this shape. */
export function placeInside(shape: Shape): Shape {
  shape.child ??= new Shape(empty, '')
  return shape.child
}

/** A shape for a key that is met for the first time; remembered where there is room. */
export function addShape(previous: Shape, key: Uint8Array, name: string): Shape {
  if (key.length > maxKeyLength || previous.followers >= maxFollowers) return new Shape(key, name)
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
  const shape = new Shape(key, Object.keys({ [name]: true })[0] ?? name, words)
  previous.followers++
  shape.other = previous.next
  previous.next = shape
  return shape
}
