// Damages the bytes of a CAR: a random source and a valid CAR in, a changed copy out. Hashes are not repaired, so most of
// these reach the framing alone; mutate-tree.ts goes deeper.
import type { Random } from '../fixtures/index.ts'

type Mutation = (car: Buffer, random: Random) => Buffer

/** Changes one to four things. */
export function mutateCar(car: Uint8Array, random: Random): Uint8Array {
  let changed: Buffer = Buffer.from(car)
  for (let i = 1 + random.below(4); i > 0 && changed.length > 0; i--) changed = random.pick(mutations)(changed, random)
  return Uint8Array.from(changed)
}

const mutations: readonly Mutation[] = [
  flipBit,
  setByte,
  setByte,
  cutEnd,
  removeRange,
  repeatRange,
  insertBytes,
  swapRanges,
  changeHeader,
]

const interesting = [
  0x00, 0x01, 0x17, 0x18, 0x1b, 0x1f, 0x40, 0x58, 0x5f, 0x7f, 0x80, 0x9f, 0xa0, 0xbf, 0xd8, 0xf6, 0xff,
]

function flipBit(car: Buffer, random: Random): Buffer {
  const at = random.below(car.length)
  car[at] = (car[at] ?? 0) ^ (1 << random.below(8))
  return car
}

function setByte(car: Buffer, random: Random): Buffer {
  car[random.below(car.length)] = random.chance(0.5) ? random.pick(interesting) : random.below(256)
  return car
}

/** The header and the first blocks are a small part of the bytes and most of the rules. */
function changeHeader(car: Buffer, random: Random): Buffer {
  car[random.below(Math.min(car.length, 100))] = random.pick(interesting)
  return car
}

function cutEnd(car: Buffer, random: Random): Buffer {
  return car.subarray(0, random.below(car.length))
}

function removeRange(car: Buffer, random: Random): Buffer {
  const [from, to] = range(car, random)
  return Buffer.concat([car.subarray(0, from), car.subarray(to)])
}

function repeatRange(car: Buffer, random: Random): Buffer {
  const [from, to] = range(car, random)
  return Buffer.concat([car.subarray(0, to), car.subarray(from)])
}

function insertBytes(car: Buffer, random: Random): Buffer {
  const at = random.below(car.length + 1)
  return Buffer.concat([car.subarray(0, at), random.bytes(1 + random.below(20)), car.subarray(at)])
}

function swapRanges(car: Buffer, random: Random): Buffer {
  const [from, to] = range(car, random)
  const middle = from + random.below(to - from + 1)
  return Buffer.concat([car.subarray(0, from), car.subarray(middle, to), car.subarray(from, middle), car.subarray(to)])
}

function range(car: Buffer, random: Random): [from: number, to: number] {
  const from = random.below(car.length)
  return [from, Math.min(car.length, from + 1 + random.below(random.chance(0.7) ? 40 : 2_000))]
}
