// Mutates valid CARs and judges what the walk makes of them, from a seed, for a time or a number of rounds. The round's
// own seed repeats it alone: `npm run fuzz -- --round SEED/N`.
import { buildRepo, createRandom, generateRecords, makeDid, makeSigningKey, type Random } from '../fixtures/index.ts'
import { type DiskStore, type LoadOptions, openDiskStore, spillPath } from '../src/index.ts'
import { judgeAccepted, type Walked, walkDamaged } from './judge.ts'
import { mutateCar } from './mutate-car.ts'
import { mutateTree } from './mutate-tree.ts'

export interface FuzzOptions {
  seed: string
  /** Where spilled walks keep their file. */
  spillDir: string
  /** Stops after the first of the two. */
  forMs?: number
  rounds?: number
  /** The first round's number. */
  from?: number
  onProgress?: (result: FuzzResult) => void
}

export interface FuzzResult {
  rounds: number
  accepted: number
  /** Refusals by code. */
  refused: Record<string, number>
}

const signingKey = makeSigningKey('fuzz', { curve: 'P-256' })
const repos = [0, 1, 2, 5, 12, 40, 150].map((count) =>
  buildRepo({
    did: makeDid('fuzz'),
    signingKey,
    records: generateRecords({ seed: `fuzz ${count}`, count, repeats: 0.1 }),
  }),
)

/** Throws at the first crash or accepted lie, naming the round. */
export async function fuzz(options: FuzzOptions): Promise<FuzzResult> {
  const { seed, spillDir, forMs = Number.POSITIVE_INFINITY, rounds = Number.POSITIVE_INFINITY, from = 0 } = options
  const result: FuzzResult = { rounds: 0, accepted: 0, refused: {} }
  const started = performance.now()
  for (let round = from; round < from + rounds && performance.now() - started < forMs; round++) {
    const outcome = await playRound(`${seed}/${round}`, spillDir)
    result.rounds++
    if (outcome === 'accepted') result.accepted++
    else result.refused[outcome] = (result.refused[outcome] ?? 0) + 1
    if (result.rounds % 5_000 === 0) options.onProgress?.(result)
  }
  return result
}

async function playRound(name: string, spillDir: string): Promise<string> {
  const random = createRandom(name)
  const repo = random.pick(repos)
  const deep = random.chance(0.6)
  const order = random.pick(['pds', 'preorder', 'digest'] as const)
  const car = deep ? mutateTree(repo, signingKey, random) : mutateCar(repo.toCar(order), random)
  try {
    const first = await walkDamaged(car, { ...pickWay(random, spillDir), spillDir })
    const second = await walkDamaged(car, { ...pickWay(random, spillDir), spillDir })
    assertAgree(first, second)
    if (typeof first === 'string') return first
    await judgeAccepted(car, first)
    return 'accepted'
  } catch (cause) {
    const bytes = car.length < 4_096 ? `, CAR in base64: ${Buffer.from(car).toString('base64')}` : ''
    throw new Error(`fuzz round ${name} (${deep ? 'tree' : 'bytes'}, ${repo.entries.length} records)${bytes}`, {
      cause,
    })
  }
}

function pickWay(random: Random, spillDir: string): LoadOptions & { pieceBytes?: number } {
  const pieceBytes = random.pick([0, 0, 1, 37, 500, 4_096])
  const memoryLimitBytes = random.pick([undefined, undefined, 1, 5_000])
  const openStore = random.chance(0.5) ? (): Promise<DiskStore> => openDiskStore(spillPath(spillDir)) : undefined
  return { pieceBytes, memoryLimitBytes, openStore, preorder: random.pick(['stream', 'buffer']) }
}

/** However the bytes come in, the verdict is one. With two faults in a CAR, which of them is met first depends on the way. */
function assertAgree(first: Walked | string, second: Walked | string): void {
  const name = (outcome: Walked | string): string => (typeof outcome === 'string' ? outcome : 'acceptance')
  if (typeof first !== typeof second) throw new Error(`one way ends in ${name(first)}, another in ${name(second)}`)
  if (typeof first === 'string' || typeof second === 'string') return
  const list = ({ entries }: Walked): string => entries.map(({ key, cid }) => `${key} ${cid}`).join()
  if (list(first) !== list(second)) throw new Error('two ways give other records')
}
