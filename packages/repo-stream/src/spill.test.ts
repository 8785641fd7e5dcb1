// Walks past the memory limit: the same records in any order of blocks, and the temporary file's life and death.
import { type SpawnSyncReturns, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { allChunks, asText, CountingBudget, finish, pieces, walkAll } from '../fixtures/driving.ts'
import { keyOfHeight, keysOfHeight } from '../fixtures/hostile-case.ts'
import { buildRepo, generateRecords, makeDid, makeSigningKey } from '../fixtures/index.ts'
import { openFiles } from '../fixtures/open-files.ts'
import { rawCar, rawNode, rawRecord } from '../fixtures/raw-repo.ts'
import { loadCar, openDiskStore, removeStaleSpills, spillPath, walkRepo } from './index.ts'

const dir = mkdtempSync(join(tmpdir(), 'repo-stream-spill-'))
const repo = buildRepo({
  did: makeDid('spill'),
  signingKey: makeSigningKey('spill'),
  records: generateRecords({ seed: 'spill', count: 9000, repeats: 0.02 }),
})
const expected = asText(repo.entries.map(({ key, cid, bytes }) => ({ key, cid, data: bytes })))

afterAll(() => rmSync(dir, { recursive: true }))

describe('a spilled walk', () => {
  test.each(['pds', 'digest', 'preorder'] as const)('gives the same records in %s order', async (order) => {
    const car = repo.toCar(order)
    for (const source of [car, pieces(car, 30_000)]) {
      expect(asText(await walkAll(source, { memoryLimitBytes: 100_000 }, spillPath(dir)))).toEqual(expected)
    }
  })

  test('gives the same records where the order scatters the tree and the cache is small', async () => {
    const car = await loadCar(pieces(repo.toCar('digest'), 60_000), { memoryLimitBytes: 100_000 })
    if (car.kind !== 'disk') throw new Error('the load was not suspended')
    const store = await openDiskStore(spillPath(dir), { cacheBytes: 200_000 })
    const { driver } = await car.finishLoading(store)
    expect(asText((await allChunks(driver, 500)).flat())).toEqual(expected)
    expect(store.storedBytes).toBeGreaterThan(1.8 * repo.carBytes) // regrouped: written twice
    await driver.close()
  })

  test.each(['buffer', 'stream'] as const)('stores a block once that is sent ever again (%s)', async (preorder) => {
    const record = rawRecord({ a: 'block' })
    const car = rawCar(rawNode(keysOfHeight(0, 3).map((key) => ({ key, value: record }))), [record])
    const section = Buffer.concat([Buffer.of(record.cid.length + record.bytes.length), record.cid, record.bytes])
    const source = [car, ...Array<Uint8Array>(20).fill(Buffer.concat(Array(1000).fill(section)))]
    const loaded = await loadCar(source, { memoryLimitBytes: 1, preorder })
    if (loaded.kind !== 'disk') throw new Error('the load was not suspended')
    const store = await openDiskStore(spillPath(dir))
    const { driver } = await loaded.finishLoading(store)
    expect((await allChunks(driver, 500)).flat()).toHaveLength(3)
    expect(store.storedBytes).toBeLessThan(section.length * 1000)
    await driver.close()
  })

  test('refuses a node that is its own child also where the order makes it rearrange the blocks, unhashed', async () => {
    const record = (i: number) => rawRecord({ i, text: 'x'.repeat(300) })
    const low = keysOfHeight(0, 4000).map((key, i) => ({ key, value: record(i) }))
    const high = keysOfHeight(1, 4000, low.at(-1)?.key).map((key, i) => ({ key, value: record(4000 + i) }))
    const cid = record(0).cid.with(35, 1)
    const below = keyOfHeight(0, high.at(-1)?.key)
    const ring = { cid, bytes: rawNode([{ key: below, value: record(0), tree: { cid, bytes: cid } }]).bytes }
    const left = rawNode(low)
    const root = rawNode([...high.slice(0, -1), { ...(high.at(-1) ?? { key: '', value: left }), tree: ring }], left)
    const blocks = [left, ring, ...[...low, ...high].map(({ value }) => value)]
    const car = rawCar(
      root,
      blocks.sort((one, other) => Buffer.compare(one.cid, other.cid)),
    )
    const loaded = await loadCar(pieces(car, 60_000), { memoryLimitBytes: 1, verifyHashes: false })
    if (loaded.kind !== 'disk') throw new Error('the load was not suspended')
    const store = await openDiskStore(spillPath(dir), { cacheBytes: 200_000 })
    const { driver } = await loaded.finishLoading(store)
    await expect(allChunks(driver, 500)).rejects.toMatchObject({ code: 'KeyDepthInvalid' })
    expect(store.storedBytes).toBeGreaterThan(1.8 * car.length)
    await driver.close()
  })

  test('suspends at any limit and loses nothing', async () => {
    const small = buildRepo({
      did: repo.did,
      signingKey: makeSigningKey('s'),
      records: generateRecords({ seed: 1, count: 60 }),
    })
    const whole = asText(await walkAll(small.car))
    for (let limit = 1; limit < 60_000; limit += 1777) {
      for (const process of [undefined, (block: Uint8Array) => block]) {
        expect(asText(await walkAll(small.car, { memoryLimitBytes: limit, process }, spillPath(dir)))).toEqual(whole)
        expect(
          asText(await walkAll(pieces(small.car, 700), { memoryLimitBytes: limit, process }, spillPath(dir))),
        ).toEqual(whole)
      }
    }
  })

  test('keeps only what process returns, and its errors', async () => {
    const options = {
      memoryLimitBytes: 100_000,
      process: (block: Uint8Array) => {
        if (block.length % 2 === 1) throw new Error('odd')
        return block.subarray(0, 4)
      },
    }
    const entries = await walkAll(pieces(repo.car, 50_000), options, spillPath(dir))
    expect(entries).toHaveLength(repo.entries.length)
    for (const [i, { data, error }] of entries.entries()) {
      const length = repo.entries[i]?.bytes.length ?? 0
      expect([data.length, error instanceof Error]).toEqual(length % 2 === 1 ? [length, true] : [4, false])
    }
  })

  test('holds blocks larger than a row, and gives at most some MiB in a chunk', async () => {
    const records = [...Array(50).keys()].map((i) => ({
      key: `a.b.c/${i}`,
      value: { text: String(i).repeat(100_000) },
    }))
    const large = buildRepo({ did: repo.did, signingKey: makeSigningKey('s'), records })
    const { driver } = await finish(large.car, { memoryLimitBytes: 1 }, spillPath(dir))
    const bytes = (await allChunks(driver, 1000)).map((chunk) => chunk.reduce((sum, { data }) => sum + data.length, 0))
    await driver.close()
    expect(Math.max(...bytes)).toBeLessThan(4.2 * 1024 * 1024)
    expect(asText(await walkAll(pieces(large.car, 9999), { memoryLimitBytes: 1 }, spillPath(dir)))).toEqual(
      asText(await walkAll(large.car)),
    )
  })

  test('gives the shared budget all of its memory back', async () => {
    const budget = new CountingBudget(300_000)
    const { driver } = await finish(pieces(repo.car, 10_000), { budget }, spillPath(dir))
    await allChunks(driver, 1000)
    expect(budget.most).toBeLessThanOrEqual(300_000)
    await driver.close()
    expect(budget.held).toBe(0)
  })

  test.each([
    ['as they are', undefined],
    ['processed', (block: Uint8Array) => block],
  ])('gives back the memory of what it held, %s, and has its cache of that', async (_, process) => {
    const cacheBytes = 262_144
    const indexBytes = 8 * 16_384 // of 11,800 blocks
    const budget = new CountingBudget(1_000_000)
    for (const source of [repo.car, pieces(repo.car, 30_000)]) {
      const car = await loadCar(source, { budget, memoryLimitBytes: 950_000, process })
      if (car.kind !== 'disk') throw new Error('the load was not suspended')
      expect(budget.held).toBeGreaterThan(700_000)
      const { driver } = await car.finishLoading(await openDiskStore(spillPath(dir), { cacheBytes }))
      expect(budget.held).toBeGreaterThan(cacheBytes)
      const windowBytes = process === undefined ? 0 : 65_536
      expect(budget.held).toBeLessThanOrEqual(cacheBytes + indexBytes + windowBytes)
      await driver.close()
      expect(budget.held).toBe(0)
    }
  })

  test('may have entries that are held past the next chunk and past close', async () => {
    const { driver } = await finish(pieces(repo.toCar('digest'), 10_000), { memoryLimitBytes: 1 }, spillPath(dir))
    const chunks = await allChunks(driver, 333)
    await driver.close()
    expect(asText(chunks.flat())).toEqual(expected)
  })
})

describe('the temporary file', () => {
  test('is gone after success, an early end, a failure and an abort', async () => {
    const spillDir = join(dir, 'gone')
    const options = { spillDir, memoryLimitBytes: 100_000 }
    let records = 0
    for await (const chunk of walkRepo(repo.car, options)) records += chunk.length
    expect(records).toBe(repo.entries.length)
    for await (const _ of walkRepo(repo.car, options)) break
    await expect(drain(walkRepo(pieces(repo.car.subarray(0, -300), 5000), options))).rejects.toMatchObject({
      code: 'CarTruncated',
    })
    const abort = new AbortController()
    const walk = walkRepo(endless(), { ...options, signal: abort.signal })
    setTimeout(() => abort.abort(new Error('enough')), 50)
    await expect(drain(walk)).rejects.toThrow('enough')
    expect(readdirSync(spillDir)).toEqual([])
  })

  test('is not left by a process that is killed', () => {
    const spillDir = join(dir, 'killed')
    const child = run(`
      let n = 0
      for await (const chunk of walkRepo(repo.car, { spillDir: ${JSON.stringify(spillDir)}, memoryLimitBytes: 1 }))
        if (++n === 2) process.kill(process.pid, 'SIGKILL')`)
    expect(child.signal).toBe('SIGKILL')
    expect(readdirSync(spillDir)).toEqual([])
  })

  test('of a killed process is removed, of a running one is not', async () => {
    const stale = join(dir, 'stale')
    mkdirSync(stale)
    const gone = ['repo-stream-4194999-12345-1.sqlite', `repo-stream-${process.pid}-1-1.sqlite`]
    const inTheWay = 'repo-stream-4194999-12345-2.sqlite'
    mkdirSync(join(stale, inTheWay)) // cannot be removed as a file, nor could another user's
    const kept = [inTheWay, 'other.sqlite', spillPath(stale).slice(stale.length + 1)]
    for (const name of [...gone, ...kept.slice(1)]) writeFileSync(join(stale, name), '')
    expect(await removeStaleSpills(stale)).toBe(2)
    expect(readdirSync(stale).sort()).toEqual(kept.sort())
  })

  test('of a process that cannot be seen from here is removed when it is a day old', async () => {
    const shared = join(dir, 'shared')
    mkdirSync(shared)
    const names = ['young', 'old'].map((_, i) => `repo-stream-${process.pid}-1-0123456789ab-0_${i}.car.zst`)
    for (const name of names) writeFileSync(join(shared, name), '')
    const twoDaysAgo = Date.now() / 1000 - 2 * 86_400
    utimesSync(join(shared, names[1] ?? ''), twoDaysAgo, twoDaysAgo)
    expect(await removeStaleSpills(shared)).toBe(1)
    expect(readdirSync(shared)).toEqual(names.slice(0, 1))
  })

  test.skipIf(process.platform !== 'linux')(
    'goes to no folder that cannot be made, which is told at once',
    async () => {
      // `mkdir` with `recursive` never returns here.
      await expect(removeStaleSpills('/proc/none/spill')).rejects.toMatchObject({
        code: 'DiskFailed',
        cause: { code: 'ENOENT' },
      })
      const deep = join(dir, 'deep', 'er')
      expect([await removeStaleSpills(deep), await removeStaleSpills(deep), existsSync(deep)]).toEqual([0, 0, true])
      writeFileSync(join(deep, 'file'), '')
      await expect(removeStaleSpills(join(deep, 'file'))).rejects.toMatchObject({ cause: { code: 'EEXIST' } })
      await expect(removeStaleSpills(join(deep, 'file', 'x'))).rejects.toMatchObject({ cause: { code: 'ENOTDIR' } })
    },
  )

  test('never replaces a file that is there', async () => {
    const path = join(dir, 'precious')
    writeFileSync(path, 'precious')
    await expect(openDiskStore(path)).rejects.toMatchObject({ code: 'DiskFailed' })
    expect(existsSync(path)).toBe(true)
  })

  test('cannot be made: a coded error', async () => {
    await expect(openDiskStore(join(dir, 'no', 'such', 'folder'))).rejects.toMatchObject({ code: 'DiskFailed' })
  })

  test.each([3000, 22_000, 33_000, 66_000])(
    'is as large as `storedBytes` says, with records of %i bytes',
    async (size) => {
      const records = keysOfHeight(0, 300).map((key, i) => ({ key, value: rawRecord({ i, text: 'x'.repeat(size) }) }))
      const car = rawCar(
        rawNode(records),
        records.map(({ value }) => value),
      )
      const store = await openDiskStore(spillPath(dir))
      const loaded = await loadCar(pieces(car, 60_000), { memoryLimitBytes: 1 })
      if (loaded.kind !== 'disk') throw new Error('the load was not suspended')
      const { driver } = await loaded.finishLoading(store)
      const [{ bytes } = { bytes: 0 }] = openFiles(store.path)
      await driver.close()
      // SQLite itself has some pages, and holds up to ten in memory
      expect(bytes / 65_536).toBeLessThan(store.storedBytes / 65_536 + 4)
      expect(bytes / 65_536).toBeGreaterThan(store.storedBytes / 65_536 - 11)
    },
  )

  test('is bounded by maxStoredBytes', async () => {
    const walk = walkRepo(repo.car, { spillDir: dir, memoryLimitBytes: 1, store: { maxStoredBytes: 500_000 } })
    await expect(drain(walk)).rejects.toMatchObject({ code: 'StoredBytesLimit' })
  })

  test('shares a budget with other stores: refused, it says so, and what it had is free when it is closed', async () => {
    const budget = new SharedDisk(600_000)
    const spill = () => walkRepo(repo.car, { spillDir: dir, memoryLimitBytes: 1, store: { budget } })
    await expect(drain(spill())).rejects.toMatchObject({ code: 'StoreBudgetSpent' })
    expect(budget.held).toBe(0)
    budget.limit = Number.POSITIVE_INFINITY
    await drain(spill())
    expect(budget.held).toBe(0)
    expect(budget.peak).toBeGreaterThan(600_000)
  })

  test('serves one walk', async () => {
    const store = await openDiskStore(spillPath(dir))
    const [one, two] = await Promise.all([0, 1].map(() => loadCar(repo.car, { memoryLimitBytes: 1 })))
    if (one?.kind !== 'disk' || two?.kind !== 'disk') throw new Error('the loads were not suspended')
    const { driver } = await one.finishLoading(store)
    await expect(two.finishLoading(store)).rejects.toMatchObject({ code: 'Closed' })
    await expect(one.finishLoading(store)).rejects.toMatchObject({ code: 'Closed' })
    expect(await driver.nextChunk(1)).toHaveLength(1)
    await driver.close()
  })

  test('finds the disk full: DiskFull, by a limit on file sizes', () => {
    expectDiskFull(run(spilling(dir), ['sh', '-c', 'ulimit -f 1024; exec "$@"', 'sh']))
  })

  test('finds the disk full: DiskFull, on a file system of 1 MiB', ({ skip }) => {
    const inside = onSmallDisk('tiny', '1m')
    if (inside === undefined) return skip('no file system can be mounted here')
    expectDiskFull(run(spilling(join(dir, 'tiny')), inside))
  })

  test('is not written twice where the order scatters the tree but the disk has no room for that', ({ skip }) => {
    const inside = onSmallDisk('small', '4m')
    if (inside === undefined) return skip('no file system can be mounted here')
    const { stdout, stderr } = run(
      `
      const options = { spillDir: ${JSON.stringify(join(dir, 'small'))}, memoryLimitBytes: 1, store: { cacheBytes: 65_536 } }
      let walked = 0
      for await (const chunk of walkRepo(repo.toCar('digest'), options)) walked += chunk.length
      console.log(walked)`,
      inside,
    )
    expect(`${stdout}${stderr}`).toBe('6000\n')
  })
})

/** What to put before a command so that the folder `name` is a file system of that size to it; undefined: not here. */
function onSmallDisk(name: string, size: string): string[] | undefined {
  const folder = join(dir, name)
  mkdirSync(folder)
  const mount = `mount -t tmpfs -o size=${size} tmpfs ${folder} && exec "$@"`
  const inside = ['unshare', '--map-root-user', '--mount', 'sh', '-c', mount, 'sh']
  return spawnSync(inside[0] ?? '', [...inside.slice(1), 'true']).status === 0 ? inside : undefined
}

function spilling(spillDir: string): string {
  return `
    try {
      for await (const _ of walkRepo(repo.car, { spillDir: ${JSON.stringify(spillDir)}, memoryLimitBytes: 1 })) {}
    } catch (error) {
      console.log(error.code)
    }`
}

function expectDiskFull({ stdout, stderr }: { stdout: string; stderr: string }): void {
  expect(`${stdout}${stderr}`).toBe('DiskFull\n')
}

/** Runs code in a child, with `repo` of 6,000 records (2 MB). */
function run(code: string, before: readonly string[] = []): SpawnSyncReturns<string> {
  const source = `
    import { buildRepo, generateRecords, makeDid, makeSigningKey } from './fixtures/index.ts'
    import { walkRepo } from './src/index.ts'
    const records = generateRecords({ seed: 1, count: 6000 })
    const repo = buildRepo({ did: makeDid(1), signingKey: makeSigningKey(1), records })
    ${code}`
  const [command = '', ...rest] = [
    ...before,
    process.execPath,
    '--conditions=workspace-source',
    '--input-type=module',
    '-e',
    source,
  ]
  return spawnSync(command, rest, { encoding: 'utf8', cwd: fileURLToPath(new URL('..', import.meta.url)) })
}

class SharedDisk {
  limit: number
  held = 0
  peak = 0

  constructor(limit: number) {
    this.limit = limit
  }

  take(bytes: number): boolean {
    if (this.held + bytes > this.limit) return false
    this.held += bytes
    this.peak = Math.max(this.peak, this.held)
    return true
  }

  give(bytes: number): void {
    this.held -= bytes
  }
}

async function drain(chunks: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of chunks) {
    // only to get to the end
  }
}

async function* endless(): AsyncGenerator<Uint8Array> {
  yield* pieces(repo.car, 5000)
  await new Promise(() => {})
}
