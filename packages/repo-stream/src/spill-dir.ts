// Names the temporary files of a process in a folder, and removes what killed processes left there. A name holds the pid
// and the time at which that process started, so that a pid that was given out again is not taken for the old one.
import { readFileSync } from 'node:fs'
import { mkdir, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import process from 'node:process'
import { threadId } from 'node:worker_threads'
import { RepoStreamError } from './errors.ts'

const pattern = /^repo-stream-(\d+)-(\w+)-\w+\.[a-z.]+(?:-\w+)?$/
let files = 0
let ours: string | undefined

/** A path in `dir` that no other walk uses, in this thread or another, for `openDiskStore`. */
export function spillPath(dir: string, extension = 'sqlite'): string {
  ours ??= `repo-stream-${process.pid}-${startOf(process.pid) ?? 'x'}-${threadId}`
  return join(dir, `${ours}_${++files}.${extension}`)
}

/**
 * Makes `dir` where it is missing and removes the temporary files in it whose process is gone; gives how many. Files are
 * unlinked as soon as they are open, so it finds one only where a process died in that instant, or where files in use
 * cannot be unlinked (Windows).
 */
export async function removeStaleSpills(dir: string): Promise<number> {
  try {
    await mkdir(dir, { recursive: true })
    let removed = 0
    for (const name of await readdir(dir)) {
      const [, pid, start] = pattern.exec(name) ?? []
      if (pid === undefined || start === undefined || isAlive(Number(pid), start)) continue
      if (await isRemoved(join(dir, name))) removed++
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

/** Clock ticks from boot to the start of the process; undefined where there is no /proc, or no such process. */
function startOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return undefined
  }
}
