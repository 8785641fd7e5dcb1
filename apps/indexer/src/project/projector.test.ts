import { createRandom, encodeRecord } from 'repo-stream/fixtures'
import { expect, test } from 'vitest'
import { fromLexicons, loadConfig } from '../config.ts'
import { resolveConfig } from '../config-resolve.ts'
import { createTableFinder } from './tables.ts'
import { decodeForTest } from './testing-decode.ts'
import { randomRecord, recordTypes } from './testing-records.ts'
import { createTestProjection } from './testing-settle.ts'
import { readFields, slowProject } from './testing-slow-way.ts'

const seed = process.env.SEED ?? String(Date.now())
console.log(`SEED=${seed}`)

const derived = await resolveConfig({
  collections: [
    fromLexicons(['app.bsky.*', 'chat.bsky.*', 'com.atproto.*', 'com.germnetwork.*', 'tools.ozone.*']),
    { '*': 'json' },
  ],
})
const typed = await loadConfig()
const findTypedTable = createTableFinder(typed)

test.each([
  ['of every lexicon', 0],
  ['with odd values', 0.15],
])('rows of random records %s are those of the slow way', (_name, oddity) => {
  const random = createRandom(`${seed} ${oddity}`)
  for (const config of [derived, typed]) {
    const types = recordTypes.filter((type) => config === derived || findTypedTable(type) !== undefined)
    const projection = createTestProjection(config)
    for (let i = 0; i < 2_500; i++) {
      const type = random.pick(types)
      const block = Uint8Array.from(encodeRecord(randomRecord(type, random, oddity)))
      compareWithSlowWay(projection, type, block)
    }
  }
})

test('blocks with flipped, cut and repeated bytes are refused, or give the rows of the slow way', () => {
  const random = createRandom(`${seed} flips`)
  const projection = createTestProjection(derived)
  let refused = 0
  for (let i = 0; i < 6_000; i++) {
    const type = random.pick(recordTypes)
    const block = mutate(encodeRecord(randomRecord(type, random, 0.05)), random)
    if (!compareWithSlowWay(projection, type, block)) refused++
  }
  expect(refused).toBeGreaterThan(1_000)
  expect(refused).toBeLessThan(5_500)
})

test('records that are alike but for changed bytes are refused, or give the rows of the slow way', () => {
  const random = createRandom(`${seed} alike`)
  const types = ['app.bsky.feed.like', 'app.bsky.feed.repost', 'app.bsky.graph.follow', 'app.bsky.feed.post']
  let refused = 0
  for (let round = 0; round < 40; round++) {
    const type = types[round % types.length] ?? ''
    const projection = createTestProjection(typed)
    const block = Uint8Array.from(encodeRecord(randomRecord(type, random, round % 3 === 0 ? 0.05 : 0)))
    for (let i = 0; i < 70; i++) projection.settleAs(type, block)
    for (let i = 0; i < 150; i++) {
      const changed = Uint8Array.from(block)
      for (let j = random.below(2); j >= 0; j--) changed[random.below(block.length)] = random.below(256)
      if (!compareWithSlowWay(projection, type, changed)) refused++
    }
  }
  expect(refused).toBeGreaterThan(100)
  expect(refused).toBeLessThan(5_000)
})

function mutate(bytes: Uint8Array, random: ReturnType<typeof createRandom>): Uint8Array {
  const block = Uint8Array.from(bytes)
  for (let i = random.below(3); i >= 0; i--) block[random.below(block.length)] = random.below(256)
  if (random.chance(0.1)) return block.subarray(0, random.below(block.length))
  return block
}

/** False when both refuse. */
function compareWithSlowWay(
  projection: ReturnType<typeof createTestProjection>,
  type: string,
  block: Uint8Array,
): boolean {
  const settled = projection.settleAs(type, block)
  const decoded = tryDecode(block)
  if (!(decoded instanceof Map)) {
    expect(settled.reject, hex(block)).toBeDefined()
    return false
  }
  if (settled.table === undefined || settled.fields === undefined) throw new Error(hex(block))
  const slow = slowProject(settled.table, decoded)
  const values = readFields(settled.table, settled.fields)
  expect(values, hex(block)).toEqual(slow.values)
  expect(settled.oddities.filter((odd) => !odd.startsWith('$type'))).toEqual(slow.oddities)
  return true
}

function tryDecode(block: Uint8Array): unknown {
  try {
    return decodeForTest(block)
  } catch {
    return undefined
  }
}

function hex(block: Uint8Array): string {
  return `SEED=${seed} ${Buffer.from(block).toString('hex')}`
}
