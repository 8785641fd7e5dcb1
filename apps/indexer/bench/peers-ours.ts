// Our side of `bench:peers`: what one indexing thread and the writer do, in one thread, with CARs from memory for the network.
// It checks every hash, every key's order and depth, the commit's signature and its rev, and writes counts and the repos' state
// in the transactions of their rows.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type IndexContext, indexRepo } from '../src/index-repo.ts'
import { MemoryBudget } from '../src/memory-budget.ts'
import { Pace } from '../src/pace.ts'
import { createProjection } from '../src/project/projection.ts'
import { RowBuffers } from '../src/row-buffers.ts'
import { openWriter } from '../src/write.ts'
import type { SideContext } from './peers-side.ts'

const MiB = 1024 * 1024
const pieceBytes = 64 * 1024
/** The limits of the command line's defaults, and the bench's 200 repos a transaction. */
const memoryBytes = 256 * MiB
const repoMemoryBytes = 16 * MiB
const largeRepoBytes = 8 * MiB
const spillLimitBytes = 16_384 * MiB
const batchMaxRepos = 200

export async function runOurs({ config, database, state, repos }: SideContext): Promise<void> {
  const spillDir = mkdtempSync(join(tmpdir(), 'atproto-indexer-bench-spill-'))
  const writer = openWriter({ database, config, process: () => state.process, limits: { batchMaxRepos } })
  const budget = new MemoryBudget(memoryBytes)
  const cars = new Map(repos.map(({ claim, car }) => [claim.did, car]))
  const unasked = () => Promise.reject(new Error('every key is known'))
  const context: IndexContext = {
    config,
    projection: createProjection(config),
    writer,
    resolver: { resolve: unasked, forget: () => undefined },
    budget,
    rowBuffers: new RowBuffers(),
    pace: new Pace().enter(),
    fetchCar: ({ did }) => pieces(cars.get(did)),
    repoMemoryBytes,
    largeRepoBytes,
    spillDir,
    spills: new MemoryBudget(spillLimitBytes),
    verify: 'full',
    signal: new AbortController().signal,
  }
  const unwritten = new Set<Promise<unknown>>()
  for (const { claim } of repos) {
    while (budget.heldBytes > memoryBytes / 2) await Promise.race(unwritten)
    const { written } = await indexRepo(claim, context)
    const settled = written.then((outcome) => {
      if (outcome !== 'committed') throw new Error('a repo is claimed by us alone')
      unwritten.delete(settled)
    })
    unwritten.add(settled)
  }
  writer.flush()
  await Promise.all(unwritten)
  await writer.close()
  rmSync(spillDir, { recursive: true, force: true })
}

/** The sockets of the writer have a turn now and then, as they have between chunks from the network. */
async function* pieces(car: Buffer | undefined): AsyncGenerator<Uint8Array> {
  if (car === undefined) throw new Error('every claim is of a stored repo')
  for (let at = 0; at < car.length; at += pieceBytes) {
    await new Promise((resolve) => setImmediate(resolve))
    yield car.subarray(at, at + pieceBytes)
  }
}
