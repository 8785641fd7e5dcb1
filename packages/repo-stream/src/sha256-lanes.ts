// SHA-256 of short messages in WebAssembly SIMD, four at once, put together here at first use (18 KB, 0.3 ms): it tells the
// first message of a batch whose hash has not the number of leading zeros that is expected. 0.12 us a key, where
// `crypto.hash` takes 0.38: a call of it costs more than the hash. For whole records, of 280 bytes on average, both take
// the same time, so blocks keep to node:crypto. One block of 64 bytes a message: up to 55 bytes.

/** What we use of it; its types come with the DOM's, which this package does without. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array<ArrayBuffer>) => object
  readonly Instance: new (module: object) => { readonly exports: Readonly<Record<string, unknown>> }
}

const lanes = 4
export const maxLaneBytes = 55
/** Messages in a batch. */
export const batchMessages = 128
/** Bytes from the first message of a batch to the end of its last. */
export const batchBytes = 16 * 1024

/** Where things lie in the module's memory: constants, each word four times; then what is asked, a word for each message. */
const roundsAt = 1024
const startAt = 2048
const countingAt = 2304
const fromsAt = 4096
const lengthsAt = fromsAt + 4 * batchMessages
const pairsAt = lengthsAt + 4 * batchMessages
const messagesAt = 8192

/** A batch of messages that lie in one stretch of bytes. One for all who use it: fill and `check` it in one go. */
export interface Lanes {
  /** Message `i` is from `from` to `to` of the stretch, and its hash has so many leading pairs of zero bits: under 16. */
  put(i: number, from: number, to: number, zeroPairs: number): void
  /** The first of `count` messages in `bytes.subarray(from, to)` for which that is not so; -1: it is so for all. */
  check(bytes: Uint8Array, from: number, to: number, count: number): number
  /** What was put at `i`. */
  message(i: number): { from: number; to: number; zeroPairs: number }
}

/** Undefined where the machine has no SIMD that V8 can use. */
export function createLanes(): Lanes | undefined {
  try {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(assemble()))
    const { memory, check } = exports
    if (!hasBuffer(memory) || typeof check !== 'function') return undefined
    return new WasmLanes(memory.buffer, (endAt) => Number(check(endAt)))
  } catch {
    return undefined
  }
}

function hasBuffer(memory: unknown): memory is { readonly buffer: ArrayBuffer } {
  return typeof memory === 'object' && memory !== null && 'buffer' in memory && memory.buffer instanceof ArrayBuffer
}

class WasmLanes implements Lanes {
  readonly #check: (endAt: number) => number
  readonly #bytes: Uint8Array
  readonly #words: Int32Array

  constructor(memory: ArrayBuffer, check: (endAt: number) => number) {
    this.#check = check
    this.#bytes = new Uint8Array(memory)
    this.#words = new Int32Array(memory)
    this.#splat(roundsAt, roundConstants)
    this.#splat(startAt, startWords)
    for (let i = 0; i < 64; i++) this.#bytes[countingAt + i] = i
  }

  put(i: number, from: number, to: number, zeroPairs: number): void {
    const words = this.#words
    words[fromsAt / 4 + i] = messagesAt + from
    words[lengthsAt / 4 + i] = to - from
    words[pairsAt / 4 + i] = zeroPairs
  }

  check(bytes: Uint8Array, from: number, to: number, count: number): number {
    this.#bytes.set(bytes.subarray(from, to), messagesAt)
    const full = Math.ceil(count / lanes) * lanes
    for (let i = count; i < full; i++) this.put(i, 0, 0, 0) // the hash of nothing starts with a one
    return this.#check(full * 4)
  }

  message(i: number): { from: number; to: number; zeroPairs: number } {
    const word = (list: number): number => this.#words[list / 4 + i] ?? 0
    const from = word(fromsAt) - messagesAt
    return { from, to: from + word(lengthsAt), zeroPairs: word(pairsAt) }
  }

  /** Each word once for every lane. */
  #splat(address: number, words: readonly number[]): void {
    const lane = address / 4
    words.forEach((word, i) => {
      this.#words.fill(word, lane + i * lanes, lane + (i + 1) * lanes)
    })
  }
}

/** FIPS 180-4: the first 32 bits of the fractions of the cube and square roots of the first primes. */
const primes = [...Array(312).keys()].filter(
  (n) => n > 1 && ![2, 3, 5, 7, 11, 13, 17].some((p) => p < n && n % p === 0),
)
const fraction = (root: number): number => Math.floor((root % 1) * 2 ** 32)
const roundConstants = primes.map((prime) => fraction(Math.cbrt(prime)))
const startWords = primes.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)))

type Code = readonly number[]

/** The parameter (where the last message's words end) and where the present four's are, counted from 0, in bytes. */
const [endAt, at] = [0, 1] as const
/** Then vectors: the 16 words of the schedule, the eight of the state, four to work with, the lengths of the four. */
const word = (i: number): number => 2 + (i & 15)
const stateWord = (i: number): number => 18 + (i & 7)
const [t0, t1, t2, t3] = [26, 27, 28, 29] as const
const lengthOf = (lane: number): number => 30 + lane
const vectorCount = 16 + 8 + 4 + lanes

const get = (local: number): Code => [0x20, local]
const set = (local: number): Code => [0x21, local]
const simd = (op: number): Code => [0xfd, ...unsigned(op)]
const constant = (n: number): Code => [0x41, ...unsigned(n)] // below 64 the signed form is the same
const load = (address: number): Code => [...constant(0), ...simd(0), 4, ...unsigned(address)]
/** One 32-bit word of a lane in one of the lists of what is asked. */
const loadWord = (list: number, lane: number): Code => [...get(at), 0x28, 2, ...unsigned(list + 4 * lane)]
const shuffle = (bytes: Code): Code => [...simd(13), ...bytes]
const splatByte = simd(15)
const equalBytes = simd(35)
const lessBytes = simd(38)
const [and, or, xor, add] = [78, 80, 81, 174].map(simd) as [Code, Code, Code, Code]
const shiftLeft = (n: number): Code => [...constant(n), ...simd(171)]
const shiftRight = (n: number): Code => [...constant(n), ...simd(173)]
const rotate = (local: number, n: number): Code => [
  ...get(local),
  ...shiftRight(n),
  ...get(local),
  ...shiftLeft(32 - n),
  ...or,
]

function assemble(): Uint8Array<ArrayBuffer> {
  const loop = [0x03, 0x40, ...loadWords(), ...rounds(), ...compareHeights(), ...nextFour(), 0x0b]
  const notFound = [0x41, 0x7f] // -1
  const code = [...unsigned(2), 1, 0x7f, vectorCount, 0x7b, ...loop, ...notFound, 0x0b]
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 1, 0x7f, 1, 0x7f]), // one type: an i32 in, an i32 out
    ...section(3, [1, 0]), // one function of that type
    ...section(5, [1, 0, 1]), // a memory of one page
    ...section(7, [2, ...name('memory'), 2, 0, ...name('check'), 0, 0]),
    ...section(10, [1, ...unsigned(code.length), ...code]),
  ])
}

/** Loads four blocks, 16 bytes at a time, pads them, and turns lanes of words into words of lanes, big-endian. */
function loadWords(): number[] {
  const code: number[] = []
  for (let lane = 0; lane < lanes; lane++) {
    code.push(...loadWord(lengthsAt, lane), ...splatByte, ...set(lengthOf(lane)))
  }
  const bytesOf = (vector: number, i: number): Code => [0, 1, 2, 3].map((byte) => vector * 16 + i * 4 + byte)
  const swapped = (vector: number, i: number): Code => bytesOf(vector, i).toReversed()
  for (let quarter = 0; quarter < 4; quarter++) {
    const loaded = [t0, t1, t2, t3]
    for (const [lane, local] of loaded.entries()) {
      const counting = load(countingAt + quarter * 16)
      code.push(...loadWord(fromsAt, lane), ...simd(0), 0, ...unsigned(quarter * 16))
      code.push(...counting, ...get(lengthOf(lane)), ...lessBytes, ...and)
      code.push(...counting, ...get(lengthOf(lane)), ...equalBytes, ...padding, ...and, ...or, ...set(local))
    }
    const w = quarter * 4
    const pair = (a: number, b: number, order: Code[], to: number): number =>
      code.push(...get(a), ...get(b), ...shuffle(order.flat()), ...set(to))
    pair(t0, t1, [bytesOf(0, 0), bytesOf(1, 0), bytesOf(0, 1), bytesOf(1, 1)], word(w))
    pair(t2, t3, [bytesOf(0, 0), bytesOf(1, 0), bytesOf(0, 1), bytesOf(1, 1)], word(w + 1))
    pair(t0, t1, [bytesOf(0, 2), bytesOf(1, 2), bytesOf(0, 3), bytesOf(1, 3)], word(w + 2))
    pair(t2, t3, [bytesOf(0, 2), bytesOf(1, 2), bytesOf(0, 3), bytesOf(1, 3)], word(w + 3))
    pair(word(w), word(w + 1), [swapped(0, 0), swapped(0, 1), swapped(1, 0), swapped(1, 1)], t0)
    pair(word(w), word(w + 1), [swapped(0, 2), swapped(0, 3), swapped(1, 2), swapped(1, 3)], t1)
    pair(word(w + 2), word(w + 3), [swapped(0, 0), swapped(0, 1), swapped(1, 0), swapped(1, 1)], t2)
    pair(word(w + 2), word(w + 3), [swapped(0, 2), swapped(0, 3), swapped(1, 2), swapped(1, 3)], t3)
    code.push(...loaded.flatMap((local, i) => [...get(local), ...set(word(w + i))]))
  }
  code.push(...get(at), ...simd(0), 4, ...unsigned(lengthsAt), ...shiftLeft(3), ...set(word(15))) // lengths in bits
  return code
}

/** The byte after a message: 0x80, in each place. */
const padding: Code = [0x41, 0x80, 0x01, ...splatByte]

/** The 64 rounds, unrolled: the state's words change their names instead of their places. */
function rounds(): number[] {
  const code: number[] = []
  for (let i = 0; i < 8; i++) code.push(...load(startAt + i * 16), ...set(stateWord(i)))
  for (let i = 0; i < 64; i++) {
    const at = (k: number): number => stateWord(k + 64 - i)
    if (i >= 16) {
      const [two, fifteen] = [word(i - 2), word(i - 15)]
      code.push(...rotate(two, 17), ...rotate(two, 19), ...xor, ...get(two), ...shiftRight(10), ...xor)
      code.push(
        ...rotate(fifteen, 7),
        ...rotate(fifteen, 18),
        ...xor,
        ...get(fifteen),
        ...shiftRight(3),
        ...xor,
        ...add,
      )
      code.push(...get(word(i - 7)), ...add, ...get(word(i)), ...add, ...set(word(i)))
    }
    const [a, b, c, d, e, f, g, h] = [at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)]
    code.push(...get(h), ...load(roundsAt + i * 16), ...add, ...get(word(i)), ...add)
    code.push(...rotate(e, 6), ...rotate(e, 11), ...xor, ...rotate(e, 25), ...xor, ...add)
    code.push(...get(g), ...get(e), ...get(f), ...get(g), ...xor, ...and, ...xor, ...add, ...set(t0)) // choose
    code.push(...get(d), ...get(t0), ...add, ...set(d))
    code.push(...get(t0), ...rotate(a, 2), ...rotate(a, 13), ...xor, ...rotate(a, 22), ...xor, ...add)
    code.push(...get(a), ...get(b), ...and, ...get(c), ...get(a), ...get(b), ...or, ...and, ...or, ...add, ...set(h)) // majority
  }
  code.push(...get(stateWord(0)), ...load(startAt), ...add, ...set(t0)) // the hash's first word
  return code
}

/** Gives the first of the four whose zeros are not as expected. A first word of 0 counts as 16 pairs, which nobody expects. */
function compareHeights(): number[] {
  const code: number[] = []
  for (let lane = 0; lane < lanes; lane++) {
    const zeroPairs = [...get(t0), ...simd(27), lane, 0x67, ...constant(1), 0x76] // clz, shifted right
    const index = [...get(at), ...constant(2), 0x76, ...constant(lane), 0x6a]
    code.push(...zeroPairs, ...loadWord(pairsAt, lane), 0x47, 0x04, 0x40, ...index, 0x0f, 0x0b) // differ: if, return, end
  }
  return code
}

/** Goes round again while there are messages. */
function nextFour(): number[] {
  return [...get(at), ...constant(4 * lanes), 0x6a, 0x22, at, ...get(endAt), 0x49, 0x0d, 0]
}

function section(id: number, content: Code): Code {
  return [id, ...unsigned(content.length), ...content]
}

function name(text: string): Code {
  return [text.length, ...Buffer.from(text)]
}

/** LEB128. */
function unsigned(n: number): number[] {
  return n < 0x80 ? [n] : [(n & 0x7f) | 0x80, ...unsigned(n >>> 7)]
}
