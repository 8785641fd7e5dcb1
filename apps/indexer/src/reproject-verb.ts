// The verb `reproject`: the tables that the present config wants, from the archive. Shows how far it is, and says at the end what
// the archive could not give.
import { resolve } from 'node:path'
import { findArchive } from './archive.ts'
import { loadConfig } from './config.ts'
import { IndexerError } from './errors.ts'
import { showIndexes } from './finish-verb.ts'
import { defaultThreads, largeRepoBytes } from './index-setup.ts'
import { connectExisting } from './open-database.ts'
import type { Options } from './options.ts'
import { count } from './progress.ts'
import { type Reprojected, reproject } from './reproject.ts'
import type { Filled } from './reproject-fill.ts'
import { type RunIo, spillFolder } from './run.ts'

const logEveryMs = 10_000

export async function reprojectVerb(options: Options, io: RunIo): Promise<{ output: string; exitCode: number }> {
  const { archive } = options
  if (archive === undefined)
    throw new IndexerError('BadUsage', 'reproject needs --archive, the folder that `run` filled')
  const config = await loadConfig({ path: options.config, collections: options.collections })
  await using opened = await connectExisting(options, io.log)
  await findArchive(archive)
  const result = await reproject(opened.database, {
    config,
    archive: resolve(archive),
    threads: options.threads ?? defaultThreads(),
    memoryBytes: options.memory,
    repoMemoryBytes: options.repoMemory,
    largeRepoBytes,
    spillDir: spillFolder(options),
    spillLimitBytes: options.spillLimit,
    log: io.log,
    signal: io.signal,
    onFilled: showFilled(io),
    onIndex: showIndexes(io),
  })
  return { output: options.logJson ? `${JSON.stringify(plain(result))}\n` : describe(result), exitCode: 0 }
}

function showFilled({ log, line }: Pick<RunIo, 'log' | 'line'>): (filled: Filled, of: number) => void {
  let loggedAt = performance.now()
  return (filled, of) => {
    const carried = sumOf(filled)
    if (line)
      line.draw(
        `reproject  ${count(filled.reprojected + carried)} of ${count(of)} repos, ${count(carried)} not archived`,
      )
    else if (performance.now() - loggedAt > logEveryMs) {
      loggedAt = performance.now()
      log.info({ reprojected: filled.reprojected, carried, of }, 'reprojecting')
    }
  }
}

function describe(result: Reprojected): string {
  const lines = [`${count(result.reprojected)} repos reprojected`]
  for (const [code, repos] of result.carried) lines.push(`${count(repos)} kept as they were: ${code}`)
  if (sumOf(result) > 0)
    lines.push(`${count(result.stale)} of these lack what the config wants: \`run\` will fetch them again`)
  return `${lines.join('\n')}\n`
}

function plain({ reprojected, carried, stale }: Reprojected): object {
  return { reprojected, carried: Object.fromEntries(carried), stale }
}

function sumOf({ carried }: Filled): number {
  return carried.values().reduce((sum, repos) => sum + repos, 0)
}
