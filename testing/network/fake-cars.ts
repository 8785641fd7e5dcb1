// What can be wrong inside a CAR that is whole and signed by its account: framing, commit and tree, one entry for each fault. The
// account's right CAR and key in, the wrong CAR out.
import {
  type CarBlock,
  carHeader,
  encodeRecord,
  encodeVarint,
  keyHeight,
  linkTo,
  type RawEntry,
  rawNode,
  rawRecord,
  type SigningKey,
  writeCar,
} from 'repo-stream/fixtures'

export interface CarContext {
  readonly did: string
  readonly rev: string
  readonly signingKey: SigningKey
  /** As the host would send it, and where its header ends. */
  readonly car: Uint8Array
  readonly headerEnd: number
}

export type CarFault = keyof typeof carFaults

export function breakCar(fault: CarFault, context: CarContext): Uint8Array {
  return carFaults[fault](context)
}

export const isCarFault = (fault: string): fault is CarFault => fault in carFaults

const record = rawRecord({ $type: 'app.bsky.feed.post', text: 'hello', createdAt: '2024-05-01T00:00:00.000Z' })
const entry = (key: string, tree?: CarBlock): RawEntry => ({ key, value: record, ...(tree && { tree }) })

const carFaults = {
  'no roots': ({ car, headerEnd }: CarContext) => Buffer.concat([carHeader([]), car.subarray(headerEnd)]),
  'two roots': ({ car, headerEnd }: CarContext) =>
    Buffer.concat([carHeader([record.cid, record.cid]), car.subarray(headerEnd)]),
  'CAR version 2': ({ car, headerEnd }: CarContext) => {
    const header = encodeRecord({ version: 2 })
    return Buffer.concat([encodeVarint(header.length), header, car.subarray(headerEnd)])
  },
  'bytes behind the last block': ({ car }: CarContext) => Buffer.concat([car, Buffer.alloc(40, 7)]),
  /** A length of 2^53, and nothing of it. */
  'a block of petabytes': ({ car }: CarContext) => Buffer.concat([car, encodeVarint(2 ** 53)]),
  /** Harmless: every block twice. */
  'repeated blocks': ({ car, headerEnd }: CarContext) => Buffer.concat([car, car.subarray(headerEnd)]),
  'commit of version 2': (context: CarContext) => signed(rawNode([entry(keys(0)[0])]), [], { ...context, version: 2 }),
  'keys out of order': (context: CarContext) => {
    const [low, high] = keys(0)
    return signed(rawNode([entry(high), entry(low)]), [], context)
  },
  'key at the wrong depth': (context: CarContext) => {
    const child = rawNode([entry(keys(1)[0])])
    return signed(rawNode([entry(keys(1)[1])], child), [child], context)
  },
  /** Nodes without entries below one another, more than any key allows. */
  'tree without end': (context: CarContext) => {
    const nodes = [rawNode([entry(keys(0)[0])])]
    for (let depth = 0; depth < 5000; depth++) nodes.push(rawNode([], nodes.at(-1)))
    return signed(nodes.pop() ?? record, nodes, context)
  },
  /** Under a CID that is not its hash, as no other node can hold its own CID. */
  'node that is its own child': (context: CarContext) => {
    const cid = record.cid.with(35, 1)
    return signed({ cid, bytes: rawNode([], { cid, bytes: record.bytes }).bytes }, [], context)
  },
} as const satisfies Record<string, (context: CarContext) => Uint8Array>

/** A CAR of a commit of this account over `root`. */
function signed(
  root: CarBlock,
  nodes: readonly CarBlock[],
  { did, rev, signingKey, version = 3 }: CarContext & { version?: number },
): Uint8Array {
  const fields = { did, rev, data: linkTo(root), prev: null, version }
  const commit = rawRecord({ sig: signingKey.sign(encodeRecord(fields)), ...fields })
  return writeCar([commit.cid], [commit, root, ...nodes, record])
}

/** The first two keys of that height, in order. */
function keys(height: number): [string, string] {
  const found: string[] = []
  for (let index = 0; found.length < 2; index++) {
    const key = `app.bsky.feed.post/${index.toString(36).padStart(4, '0')}`
    if (keyHeight(key) === height) found.push(key)
  }
  return [found[0] ?? '', found[1] ?? '']
}
