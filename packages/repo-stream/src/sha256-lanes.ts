// SHA-256 of four short messages at once, in WebAssembly SIMD that is put together here at first use (17 KB, 0.3 ms).
// 0.10 us a key, where `crypto.hash` takes 0.38: a call of it costs more than the hash. For whole records, of 280 bytes on
// average, both take the same time, so blocks keep to node:crypto. One block of 64 bytes a message: up to 55 bytes.

/** What we use of it; its types come with the DOM's, which this package does without. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array<ArrayBuffer>) => object
  readonly Instance: new (module: object) => { readonly exports: Readonly<Record<string, unknown>> }
}

export const lanes = 4
export const maxLaneBytes = 55
const blockBytes = 64

/** Where things lie in the module's memory: what `run` reads and writes, then constants, each word four times. */
const hashAt = 0
const roundsAt = 1024
const startAt = 2048
const blocksAt = 4096

export interface Lanes {
  /** Puts a message of at most `maxLaneBytes` into lane `lane`. */
  put(lane: number, bytes: Uint8Array, from: number, to: number): void
  run(): void
  /** Word 0 to 7 of the hash in `lane`, as an int32. */
  word(lane: number, index: number): number
}

/** Undefined where the machine has no SIMD that V8 can use. */
export function createLanes(): Lanes | undefined {
  try {
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(assemble()))
    const { memory, run } = exports
    if (!hasBuffer(memory) || typeof run !== 'function') return undefined
    return new WasmLanes(memory.buffer, () => run())
  } catch {
    return undefined
  }
}

function hasBuffer(memory: unknown): memory is { readonly buffer: ArrayBuffer } {
  return typeof memory === 'object' && memory !== null && 'buffer' in memory && memory.buffer instanceof ArrayBuffer
}

class WasmLanes implements Lanes {
  readonly run: () => void
  readonly #bytes: Uint8Array
  readonly #words: Int32Array
  readonly #lengths = new Uint8Array(lanes)

  constructor(memory: ArrayBuffer, run: () => void) {
    this.run = run
    this.#bytes = new Uint8Array(memory)
    this.#words = new Int32Array(memory)
    this.#splat(roundsAt, roundConstants)
    this.#splat(startAt, startWords)
  }

  put(lane: number, bytes: Uint8Array, from: number, to: number): void {
    const target = this.#bytes
    const start = blocksAt + lane * blockBytes
    const length = to - from
    let at = start
    for (let i = from; i < to; i++) target[at++] = bytes[i] ?? 0
    target[at++] = 0x80
    for (const old = start + (this.#lengths[lane] ?? 0); at <= old; ) target[at++] = 0
    this.#lengths[lane] = length
    target[start + 62] = length >>> 5
    target[start + 63] = length << 3
  }

  word(lane: number, index: number): number {
    return this.#words[hashAt / 4 + index * lanes + lane] ?? 0
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

/** Local variables: the 16 words of the schedule, the eight of the state, and four to work with. */
const word = (i: number): number => i & 15
const stateWord = (i: number): number => 16 + (i & 7)
const [t0, t1, t2, t3] = [24, 25, 26, 27] as const
const localCount = 28

const get = (local: number): Code => [0x20, local]
const set = (local: number): Code => [0x21, local]
const simd = (op: number): Code => [0xfd, ...unsigned(op)]
const constant = (n: number): Code => [0x41, ...unsigned(n)] // below 64 the signed form is the same
const load = (address: number): Code => [...constant(0), ...simd(0), 4, ...unsigned(address)]
const shuffle = (bytes: Code): Code => [...simd(13), ...bytes]
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
  const code = [...unsigned(1), ...unsigned(localCount), 0x7b, ...loadWords(), ...rounds(), 0x0b]
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [1, 0x60, 0, 0]), // one type: no arguments, no results
    ...section(3, [1, 0]), // one function of that type
    ...section(5, [1, 0, 1]), // a memory of one page
    ...section(7, [2, ...name('memory'), 2, 0, ...name('run'), 0, 0]),
    ...section(10, [1, ...unsigned(code.length), ...code]),
  ])
}

/** Loads four blocks, 16 bytes at a time, and turns lanes of words into words of lanes, big-endian. */
function loadWords(): number[] {
  const code: number[] = []
  const bytesOf = (vector: number, i: number): Code => [0, 1, 2, 3].map((byte) => vector * 16 + i * 4 + byte)
  const swapped = (vector: number, i: number): Code => bytesOf(vector, i).toReversed()
  for (let quarter = 0; quarter < 4; quarter++) {
    const loaded = [t0, t1, t2, t3]
    code.push(...loaded.flatMap((local, lane) => [...load(blocksAt + lane * blockBytes + quarter * 16), ...set(local)]))
    const w = quarter * 4
    const pair = (a: number, b: number, order: Code[], to: number): number =>
      code.push(...get(a), ...get(b), ...shuffle(order.flat()), ...set(to))
    pair(t0, t1, [bytesOf(0, 0), bytesOf(1, 0), bytesOf(0, 1), bytesOf(1, 1)], w)
    pair(t2, t3, [bytesOf(0, 0), bytesOf(1, 0), bytesOf(0, 1), bytesOf(1, 1)], w + 1)
    pair(t0, t1, [bytesOf(0, 2), bytesOf(1, 2), bytesOf(0, 3), bytesOf(1, 3)], w + 2)
    pair(t2, t3, [bytesOf(0, 2), bytesOf(1, 2), bytesOf(0, 3), bytesOf(1, 3)], w + 3)
    pair(w, w + 1, [swapped(0, 0), swapped(0, 1), swapped(1, 0), swapped(1, 1)], t0)
    pair(w, w + 1, [swapped(0, 2), swapped(0, 3), swapped(1, 2), swapped(1, 3)], t1)
    pair(w + 2, w + 3, [swapped(0, 0), swapped(0, 1), swapped(1, 0), swapped(1, 1)], t2)
    pair(w + 2, w + 3, [swapped(0, 2), swapped(0, 3), swapped(1, 2), swapped(1, 3)], t3)
    code.push(...loaded.flatMap((local, i) => [...get(local), ...set(w + i)]))
  }
  return code
}

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
  for (let i = 0; i < 8; i++) {
    code.push(
      ...constant(0),
      ...get(stateWord(i)),
      ...load(startAt + i * 16),
      ...add,
      ...simd(11),
      4,
      ...unsigned(hashAt + i * 16),
    )
  }
  return code
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
