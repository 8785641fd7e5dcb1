// Names the temporary files of a process in a folder, and removes what killed processes left there. A name holds the pid
// and the time at which that process started, so that a pid that was given out again is not taken for the old one; and where that pid
// counts, for the folder may be shared with another machine or container, whose processes cannot be seen from here.
import { createHash } from 'node:crypto'
import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { threadId } from 'node:worker_threads'
import { RepoStreamError } from './errors.ts'
import { makeFolder } from './make-folder.ts'
import { pidSpace, startOf } from './seen-processes.ts'

const pattern = /^repo-stream-(\d+)-(\w+)-(?:(\w+)-)?\w+\.[a-z.]+(?:-\w+)?$/
/** A file of another place that nobody has written to for so long is nobody's. */
const maxForeignAgeMs = 24 * 3600_000
let files = 0
let ours: string | undefined
let ourPlace: string | undefined

/** A path in `dir` that no other walk uses, in this thread or another, for `openDiskStore`. */
export function spillPath(dir: string, extension = 'sqlite'): string {
  ours ??= `repo-stream-${process.pid}-${startOf(process.pid) ?? 'x'}-${placeOf()}-${threadId}`
  return join(dir, `${ours}_${++files}.${extension}`)
}

/**
 * Makes `dir` where it is missing and removes the temporary files in it whose process is gone; gives how many. Those of a process that
 * cannot be seen from here (before a reboot, on another machine or in another container) go when they are a day old. Files are
 * unlinked as soon as they are open, so it finds one only where a process died in that instant, or where files in use
 * cannot be unlinked (Windows).
 */
export async function removeStaleSpills(dir: string): Promise<number> {
  try {
    makeFolder(dir)
    let removed = 0
    for (const name of await readdir(dir)) {
      const [, pid, start, place = placeOf()] = pattern.exec(name) ?? []
      if (pid === undefined || start === undefined) continue
      const path = join(dir, name)
      const isUsed = place === placeOf() ? isAlive(Number(pid), start) : await isYoung(path)
      if (!isUsed && (await isRemoved(path))) removed++
    }
    return removed
  } catch (cause) {
    throw new RepoStreamError('DiskFailed', `the folder for temporary files cannot be used: ${dir}`, {
      cause,
      details: { dir },
    })
  }
}

/** Not one of another user, or a folder of such a name: it is in nobody's way. */
async function isRemoved(path: string): Promise<boolean> {
  try {
    await rm(path, { force: true })
    return true
  } catch {
    return false
  }
}

/** By the clock of whoever keeps the folder, nearly. One that has just gone is in nobody's way either. */
async function isYoung(path: string): Promise<boolean> {
  const age = await stat(path).then(
    ({ mtimeMs }) => Date.now() - mtimeMs,
    () => 0,
  )
  return age < maxForeignAgeMs
}

function isAlive(pid: number, start: string): boolean {
  const known = startOf(pid)
  if (known !== undefined) return known === start
  try {
    process.kill(pid, 0) // signal 0 asks only whether it is there
    return start === 'x'
  } catch {
    return false
  }
}

/** Short, for a name. 'x' where there is no /proc. */
function placeOf(): string {
  if (ourPlace === undefined) {
    const space = pidSpace()
    ourPlace = space === undefined ? 'x' : createHash('sha256').update(space).digest('hex').slice(0, 12)
  }
  return ourPlace
}
