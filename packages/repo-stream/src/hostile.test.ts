// One named test per malformation. Each is met four ways: the whole CAR at once, in pieces, spilled to disk, and with a
// processor; each way must end in the same typed error, within a second and 64 MiB above its input.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { collectGarbage } from '../fixtures/held-bytes.ts'
import { hostileCars } from '../fixtures/hostile-cars.ts'
import type { HostileCase } from '../fixtures/hostile-case.ts'
import { hostileCommits } from '../fixtures/hostile-commits.ts'
import { hostileNodes } from '../fixtures/hostile-nodes.ts'
import { hostileTrees } from '../fixtures/hostile-trees.ts'
import { type CarSource, type LoadOptions, loadCar, openDiskStore, RepoStreamError } from './index.ts'

/** Of the processor, as the machine may be busy with other tests. */
const maxCpuMs = 1_000
const maxBytesAboveInput = 64 * 1024 * 1024
const scratch = mkdtempSync(join(tmpdir(), 'repo-stream-hostile-'))
let stores = 0

afterAll(() => rmSync(scratch, { recursive: true }))

describe.each([
  ['CAR', hostileCars],
  ['commit', hostileCommits],
  ['node', hostileNodes],
  ['tree', hostileTrees],
] as const)('%s: the walk refuses', (_, cases) => {
  test.each(cases.map((hostile) => [hostile.name, hostile] as const))('%s', async (_name, hostile) => {
    const car = Uint8Array.from(hostile.car())
    const options = { limits: hostile.limits, verifyHashes: hostile.verifyHashes ?? true }
    const half = (block: Uint8Array): Uint8Array => block.subarray(0, block.length >> 1)
    await expectRefusal({ hostile, way: 'whole', car }, () => walk(car, options))
    await expectRefusal({ hostile, way: 'in pieces', car }, () =>
      walk(pieces(car, Math.max(13, car.length >> 10)), options),
    )
    await expectRefusal({ hostile, way: 'processed', car }, () => walk(car, { ...options, process: half }))
    await expectRefusal({ hostile, way: 'spilled', car }, () =>
      walk(pieces(car, 4_096), { ...options, memoryLimitBytes: 1 }),
    )
  })
})

interface Meeting {
  hostile: HostileCase
  way: string
  car: Uint8Array
}

async function expectRefusal({ hostile, way, car }: Meeting, work: () => Promise<unknown>): Promise<void> {
  if (car.length > 1_000_000) collectGarbage() // what an earlier case left behind is not this one's
  const base = resetPeak()
  const started = process.cpuUsage()
  const error = await work().then(
    () => new Error('the walk came to its end'),
    (thrown: unknown) => thrown,
  )
  const { user, system } = process.cpuUsage(started)
  const grown = peakBytes() - base
  if (!(error instanceof RepoStreamError)) throw error
  expect(error.code, way).toBe(hostile.code)
  if (hostile.where === 'cid') expect(error.cid, way).toMatch(/^bafyrei[a-z2-7]{52}$/)
  else {
    expect(error.offset, way).toBeGreaterThanOrEqual(0)
    expect(error.offset, way).toBeLessThanOrEqual(car.length)
  }
  expect((user + system) / 1_000, way).toBeLessThan(maxCpuMs)
  // who allows larger blocks allows one to be held
  const largestBlock = hostile.limits?.maxBlockBytes ?? 0
  expect(grown, way).toBeLessThan(car.length + maxBytesAboveInput + largestBlock)
}

async function walk(source: CarSource, options: LoadOptions): Promise<number> {
  const car = await loadCar(source, options)
  const loaded =
    car.kind === 'memory' ? car : await car.finishLoading(() => openDiskStore(join(scratch, `${++stores}`)))
  await using driver = loaded.driver
  let entries = 0
  for (let chunk = await driver.nextChunk(1_000); chunk; chunk = await driver.nextChunk(1_000)) entries += chunk.length
  return entries
}

function* pieces(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

/** Makes the kernel forget the process's peak; gives the memory that is resident now. */
function resetPeak(): number {
  try {
    writeFileSync('/proc/self/clear_refs', '5')
  } catch {} // without it the peak is that of the whole run, and the check is only weaker
  return residentBytes('VmRSS')
}

function peakBytes(): number {
  return residentBytes('VmHWM')
}

function residentBytes(field: 'VmRSS' | 'VmHWM'): number {
  const line = readFileSync('/proc/self/status', 'latin1').match(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm'))
  return Number(line?.[1] ?? 0) * 1024
}
