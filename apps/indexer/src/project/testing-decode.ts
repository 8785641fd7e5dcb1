// A DAG-CBOR decoder for tests, written to be plain: what the projector accepts or refuses without objects, with objects.
// Text that is not UTF-8 comes out as `BadText`, floats as `Float`, so that nothing is lost that a column's policy needs.
import { CID } from 'multiformats/cid'

export class BadText {
  readonly bytes: Uint8Array

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }

  get repaired(): string {
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(this.bytes)
  }
}

export class Float {
  readonly value: number

  constructor(value: number) {
    this.value = value
  }
}

export type Decoded = null | boolean | bigint | Float | string | BadText | Uint8Array | CID | Decoded[] | DecodedMap
export type DecodedMap = Map<string, Decoded>

/** Throws for whatever the projector has to refuse. Keys come as latin1 text, so that bad ones stay apart. */
export function decodeForTest(bytes: Uint8Array): Decoded {
  let position = 0
  const value = read(0)
  if (position !== bytes.length) throw new Error('bytes after the value')
  return value

  function take(count: bigint): Uint8Array {
    if (count > BigInt(bytes.length - position)) throw new Error('the end')
    position += Number(count)
    return bytes.subarray(position - Number(count), position)
  }

  function readArgument(info: number, isSimple: boolean): bigint {
    if (info < 24) return BigInt(info)
    if (info > 27) throw new Error('indefinite')
    const width = 1 << (info - 24)
    const argument = BigInt(`0x${Buffer.from(take(BigInt(width))).toString('hex')}`)
    const smallest = width === 1 ? 24n : 1n << BigInt(width * 4)
    if (!isSimple && argument < smallest) throw new Error('not minimal')
    return argument
  }

  function read(depth: number): Decoded {
    const head = take(1n)[0] ?? 0
    const major = head >> 5
    const argument = readArgument(head & 31, major === 7)
    if (major === 0) return argument
    if (major === 1) return -1n - argument
    if (major === 2) return take(argument)
    if (major === 3) return readText(take(argument))
    if ((major === 4 || major === 5) && depth > 255) throw new Error('too deep')
    if (major === 4) return readList(argument, depth)
    if (major === 5) return readMap(argument, depth)
    if (major === 6) return readLink(argument)
    return readSimple(head, argument)
  }

  function readText(text: Uint8Array): string | BadText {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(text)
    } catch {
      return new BadText(text)
    }
  }

  function readList(count: bigint, depth: number): Decoded[] {
    if (count > BigInt(bytes.length - position)) throw new Error('too long')
    return Array.from({ length: Number(count) }, () => read(depth + 1))
  }

  function readMap(count: bigint, depth: number): DecodedMap {
    if (count * 2n > BigInt(bytes.length - position)) throw new Error('too long')
    const map: DecodedMap = new Map()
    for (let i = 0; i < count; i++) {
      const head = take(1n)[0] ?? 0
      if (head >> 5 !== 3) throw new Error('key')
      const key = Buffer.from(take(readArgument(head & 31, false))).toString('latin1')
      if (map.has(key)) throw new Error('repeated key')
      map.set(key, read(depth + 1))
    }
    return map
  }

  function readLink(tag: bigint): CID {
    const head = take(1n)[0] ?? 0
    if (tag !== 42n || head >> 5 !== 2) throw new Error('tag')
    const link = take(readArgument(head & 31, false))
    if (link[0] !== 0) throw new Error('link')
    if (link[1] !== 1) throw new Error('version') // multiformats takes a zero there for the version of a CID without one
    return CID.decode(link.subarray(1))
  }

  function readSimple(head: number, argument: bigint): Decoded {
    if (head === 0xf4) return false
    if (head === 0xf5) return true
    if (head === 0xf6) return null
    if (head !== 0xfb) throw new Error('simple')
    const value = new Float64Array(new BigUint64Array([argument]).buffer)[0] ?? Number.NaN
    if (!Number.isFinite(value)) throw new Error('not finite')
    return new Float(value)
  }
}
