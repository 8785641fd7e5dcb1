// Question: what does keeping a CAR cost beside walking it, in processor time and on the disk, and what does reading it back?
// Repos of 40, 1,000 and 20,000 records; walked alone and through the archive, in turns. Chunks of 64 KiB, as a host sends them.
// `node --conditions=workspace-source apps/indexer/bench/archive.ts [--rounds 5] [--json]`
import { mkdtemp, rm, stat } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Commit, loadCar } from 'repo-stream'
import { buildRepo, generateRecords, makeDid, makeSigningKey, tidFromMicros } from 'repo-stream/fixtures'
import { archivePath, openArchive, removeArchived } from '../src/archive.ts'
import { readArchivedCar } from '../src/archive-read.ts'
import { ArchiveCopy } from '../src/archive-write.ts'
import { median } from './median.ts'

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, rounds: { type: 'string', default: '5' } },
})
const kinds = [
  { records: 40, repos: 400 },
  { records: 1_000, repos: 20 },
  { records: 20_000, repos: 1 },
]

const dir = await mkdtemp(join(tmpdir(), 'bench-archive-'))
await openArchive(dir)
const cases = []
for (const kind of kinds) cases.push(await measure(kind))
await rm(dir, { recursive: true })
if (values.json) {
  const machine = { cpu: cpus()[0]?.model, cores: cpus().length, node: process.version }
  process.stdout.write(`${JSON.stringify({ bench: 'archive', machine, cases })}\n`)
} else {
  for (const { records, carBytes, share, walkUs, keepUs, readUs } of cases) {
    const text = `walk ${walkUs} µs, keeping it ${keepUs} µs more, reading it back ${readUs} µs; on the disk ${share} of its bytes`
    process.stdout.write(`a repo of ${records} records (${carBytes} bytes): ${text}\n`)
  }
}

async function measure({ records, repos }: { records: number; repos: number }) {
  const cars = Array.from({ length: repos }, (_, i) => makeCar(i, records))
  const spent = { walk: [] as number[], kept: [] as number[], read: [] as number[] }
  for (let round = 0; round <= Number(values.rounds); round++) {
    const walk = await cpuOf(() => each(cars, (did, car) => walkAll(pieces(car)).then(() => did)))
    await removeArchived(
      dir,
      cars.map(({ did }) => did),
    ) // the first time nothing is replaced
    const kept = await cpuOf(() => each(cars, keep))
    const read = await cpuOf(() => each(cars, drain))
    if (round === 0) continue // cold
    spent.walk.push(walk)
    spent.kept.push(kept)
    spent.read.push(read)
  }
  let stored = 0
  for (const { did } of cars) stored += (await stat(archivePath(dir, did))).size
  const carBytes = cars.reduce((sum, { car }) => sum + car.length, 0)
  const perRepo = (times: number[]) => Math.round(median(times) / repos)
  return {
    case: `${records} records`,
    records,
    carBytes: Math.round(carBytes / repos),
    share: Math.round((100 * stored) / carBytes) / 100,
    walkUs: perRepo(spent.walk),
    keepUs: perRepo(spent.kept) - perRepo(spent.walk),
    readUs: perRepo(spent.read),
  }
}

function makeCar(index: number, records: number): { did: string; car: Uint8Array } {
  const did = makeDid(`archive ${index}`)
  const generated = [...generateRecords({ seed: index, count: records, did })].sort((a, b) => (a.key < b.key ? -1 : 1))
  return {
    did,
    car: buildRepo({ did, signingKey: makeSigningKey('a'), records: generated, rev: tidFromMicros(1, 1) }).car,
  }
}

async function each(
  cars: readonly { did: string; car: Uint8Array }[],
  use: (did: string, car: Uint8Array) => Promise<unknown>,
) {
  for (const { did, car } of cars) await use(did, car)
}

async function keep(did: string, car: Uint8Array): Promise<void> {
  using copy = new ArchiveCopy(dir, did)
  await copy.keep(await walkAll(copy.through(pieces(car))))
}

async function drain(did: string): Promise<void> {
  for await (const _ of readArchivedCar({ dir, did }));
}

async function walkAll(chunks: AsyncIterable<Uint8Array>): Promise<Commit> {
  const loaded = await loadCar(chunks, { memoryLimitBytes: 256 * 1024 * 1024, preorder: 'buffer' })
  if (loaded.kind !== 'memory') throw new Error('these repos fit into memory')
  while ((await loaded.driver.nextChunk(2_000)) !== undefined);
  await loaded.driver.close()
  return loaded.commit
}

async function* pieces(car: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < car.length; at += 65_536) yield car.subarray(at, at + 65_536)
}

/** User and system, in µs. */
async function cpuOf(run: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage()
  await run()
  const { user, system } = process.cpuUsage(before)
  return user + system
}
