// What the decoder learns about maps: which keys follow which, so that a known key is one comparison of a few words.
// A tree: a shape is one key in one place, `next` the keys seen after it, `child` the place of the maps inside its value.
// It holds at most `maxShapes`; a sender of ever new keys makes it forget all and start again, never grow.
import { Buffer } from 'node:buffer'
import { type MapMaker, maxMadeKeys } from './make-map.ts'

export class Shape {
  /** The key as it is encoded, with its CBOR head: shorter keys are smaller, so byte order is DAG-CBOR's order. */
  readonly key: Uint8Array
  readonly length: number
  readonly name: string
  /** The names of the map's keys up to this one; of more than `maxMadeKeys` the first. */
  readonly names: readonly string[]
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
  /** Makes the map that ends with this key, once many have. */
  maker: MapMaker | null = null
  uses = 0

  constructor(key: Uint8Array, name: string, names: readonly string[], words = noWords) {
    this.key = key
    this.length = key.length
    this.name = name
    this.names = names
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
export const rootPlace = new Shape(empty, '', [])

/** The place of the maps inside the value of this shape. */
export function placeInside(shape: Shape): Shape {
  shape.child ??= new Shape(empty, '', [])
  return shape.child
}

/** A shape for a key that is met for the first time; remembered where there is room. */
export function addShape(previous: Shape, key: Uint8Array, name: string): Shape {
  const { names } = previous
  if (key.length > maxKeyLength || previous.followers >= maxFollowers) return new Shape(key, name, follow(names, name))
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
  const shape = new Shape(key, own, follow(names, own), words)
  previous.followers++
  shape.other = previous.next
  previous.next = shape
  return shape
}

function follow(names: readonly string[], name: string): readonly string[] {
  return names.length < maxMadeKeys ? [...names, name] : names
}
