// Our side of `bench:peers`: the indexer's threads and writer, with CARs from memory that all threads share for the network.
// It checks every hash, every key's order and depth, the commit's signature and its rev, and writes counts and the repos' state
// in the transactions of their rows.
import { mkdtempSync, rmSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { openIndexPool } from '../src/index-pool.ts'
import { MemoryBudget } from '../src/memory-budget.ts'
import { openWriter } from '../src/write.ts'
import type { OpenSide, SideContext } from './peers-side.ts'

const MiB = 1024 * 1024
/** The limits of the command line's defaults, and the bench's 200 repos a transaction. */
const memoryBytes = 256 * MiB
const repoMemoryBytes = 16 * MiB
const largeRepoBytes = 8 * MiB
const hugeBytes = 32 * MiB
const spillLimitBytes = 16_384 * MiB
const batchMaxRepos = 200
/** Repos under way in each thread: nobody waits for a network. */
const reposPerThread = 8
const threads = availableParallelism()

export function openOurs({ config, database, state, repos }: SideContext): OpenSide {
  const spillDir = mkdtempSync(join(tmpdir(), 'atproto-indexer-bench-spill-'))
  const writer = openWriter({ database, config, process: () => state.process, limits: { batchMaxRepos } })
  const budget = new MemoryBudget(memoryBytes)
  const spills = new MemoryBudget(spillLimitBytes)
  const pool = openIndexPool({
    threads,
    setup: {
      config,
      http: { version: 'bench' },
      plcUrls: [],
      budget: { limitBytes: budget.limitBytes, shared: budget.shared },
      repoMemoryBytes,
      largeRepoBytes,
      hugeBytes,
      spillDir,
      spills: { limitBytes: spills.limitBytes, shared: spills.shared },
      verify: 'full',
      cars: new Map(repos.map(({ claim, car }) => [claim.did, car])),
    },
    writer,
    signal: new AbortController().signal,
    onSeen: () => {},
    onFetched: () => {},
  })
  return {
    async index(repos) {
      const walking = new Set<Promise<void>>()
      const unwritten = new Set<Promise<void>>()
      const track = (set: Set<Promise<void>>, work: Promise<void>) => {
        const tracked = work.then(() => void set.delete(tracked))
        set.add(tracked)
      }
      for (const { claim } of repos) {
        while (walking.size >= threads * reposPerThread) await Promise.race(walking)
        while (budget.heldBytes > memoryBytes / 2 && unwritten.size > 0) await Promise.race([...walking, ...unwritten])
        const walked = pool.indexRepo(claim).then(({ written }) => track(unwritten, written.then(assertCommitted)))
        track(walking, walked)
      }
      await Promise.all(walking)
      writer.flush()
      await Promise.all(unwritten)
    },
    async close() {
      await writer.close()
      await pool.close()
      rmSync(spillDir, { recursive: true, force: true })
    },
  }
}

function assertCommitted(outcome: string): void {
  if (outcome !== 'committed') throw new Error('a repo is claimed by us alone')
}
