// How much faster are rows made straight from record bytes than by decoding, picking and encoding? And with the record kept
// as JSON? `npm run bench:project [-- --json]`. Sides take turns on the same records; the medians of the rounds are compared.
import { arch, cpus } from 'node:os'
import { isDeepStrictEqual, parseArgs } from 'node:util'
import { defaultMix, encodeRecord, generateRecords } from 'repo-stream/fixtures'
import { type Config, loadConfig } from '../src/config.ts'
import { createProjection } from '../src/project/projection.ts'
import { placeOf } from '../src/project/testing-place.ts'
import { readFields } from '../src/project/testing-slow-way.ts'
import { median } from './median.ts'
import { atcute, cborg, SlowProjection } from './project-peers.ts'

interface Result {
  case: string
  side: string
  medianMs: number
  reps: number
  rows: number
  bytes: number
}

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    records: { type: 'string', default: '20000' },
    reps: { type: 'string', default: '15' },
  },
})
const reps = Number(values.reps)
/** Without records of unknown kinds: they hold integers past 2^53, which @atcute/cbor refuses. */
const mix = { ...defaultMix, unknown: 0 }
const blocks = inSlab([...generateRecords({ seed: 1, count: Number(values.records), mix })].map(({ value }) => value))
const typed = await loadConfig()
const whole = wholeRecords(await loadConfig({ collections: ['*'] }))
const cases: [string, Config, Uint8Array[]][] = [
  ['mix', typed, blocks],
  ...['feed.like', 'feed.post', 'graph.follow'].map((name): [string, Config, Uint8Array[]] => [
    name,
    typed,
    blocks.filter((block) => hasType(block, `app.bsky.${name}`)),
  ]),
  ['mix as jsonb', whole, blocks],
  ['feed.post as jsonb', whole, blocks.filter((block) => hasType(block, 'app.bsky.feed.post'))],
]
const results = cases.flatMap(([name, config, records]) => measure(name, config, records))
report(results)

/** Like the walk, which hands out views of its input: one buffer holds all blocks. */
function inSlab(records: readonly unknown[]): Uint8Array[] {
  const copies = records.map((value) => Uint8Array.from(encodeRecord(value)))
  const slab = new Uint8Array(copies.reduce((sum, copy) => sum + copy.length, 0))
  let end = 0
  return copies.map((copy) => {
    slab.set(copy, end)
    end += copy.length
    return slab.subarray(end - copy.length, end)
  })
}

function hasType(block: Uint8Array, type: string): boolean {
  return Buffer.from(block.buffer, block.byteOffset, block.length).includes(type)
}

function wholeRecords(config: Config): Config {
  return { ...config, tables: config.tables.filter((table) => table.generic).map((table) => ({ ...table, index: 0 })) }
}

function measure(name: string, config: Config, records: readonly Uint8Array[]): Result[] {
  const projection = createProjection(config)
  const digest = new Uint8Array(32)
  const slow = [atcute, cborg].map((decoder) => ({
    name: decoder.name,
    projection: new SlowProjection(config, decoder),
  }))
  const sides: [string, (block: Uint8Array) => Uint8Array | undefined][] = [
    ['ours', (block) => projection.process(block, digest, placeOf(block))],
    ...slow.map((side): [string, (block: Uint8Array) => Uint8Array | undefined] => [
      side.name,
      (block) => side.projection.project(block),
    ]),
  ]
  checkEqual(config, sides, records)
  const times = sides.map((): number[] => [])
  for (let rep = -2; rep < reps; rep++) {
    for (const [i, [, project]] of sides.entries()) {
      const start = performance.now()
      for (const block of records) project(block)
      if (rep >= 0) times[i]?.push(performance.now() - start)
    }
  }
  const bytes = records.reduce((sum, block) => sum + block.length, 0)
  return sides.map(([side], i) => ({
    case: name,
    side,
    medianMs: median(times[i] ?? []),
    reps,
    rows: records.length,
    bytes,
  }))
}

/** A side that gives other rows would win by doing other work. Ours are shorter, but say the same. */
function checkEqual(
  { tables }: Config,
  sides: readonly [string, (block: Uint8Array) => Uint8Array | undefined][],
  records: readonly Uint8Array[],
): void {
  for (const block of records) {
    const [ours, ...peers] = sides.map(([, project]) => project(block))
    if (ours === undefined || ours[0] !== 1) continue
    const table = tables[Buffer.from(ours).readUInt16BE(1)]
    for (const peer of peers) {
      const isSame = table && peer && isDeepStrictEqual(readFields(table, ours.subarray(3)), readFields(table, peer))
      if (!isSame) throw new Error('the sides differ')
    }
  }
}

function report(all: readonly Result[]): void {
  const ratios: Record<string, number> = {}
  for (const ours of all.filter((one) => one.side === 'ours')) {
    const peers = all.filter((one) => one.case === ours.case && one.side !== 'ours')
    for (const peer of peers) ratios[`${ours.case}/${peer.side}`] = round(peer.medianMs / ours.medianMs)
  }
  const machine = { cpu: cpus()[0]?.model ?? arch(), cores: cpus().length, node: process.version }
  if (values.json) {
    console.log(JSON.stringify({ bench: 'project', machine, cases: all, ratios }))
    return
  }
  console.log(`${machine.cpu}, ${machine.cores} cores, Node ${machine.node}; medians of ${reps} rounds`)
  for (const one of all) {
    const rate = Math.round(one.rows / one.medianMs)
    const micros = ((one.medianMs * 1000) / one.rows).toFixed(2)
    const ratio = one.side === 'ours' ? '' : `  ours ${ratios[`${one.case}/${one.side}`]}x faster`
    console.log(`${one.case.padEnd(20)} ${one.side.padEnd(13)} ${micros.padStart(7)} µs/row ${rate}k rows/s${ratio}`)
  }
}

function round(ratio: number): number {
  return Math.round(ratio * 100) / 100
}
