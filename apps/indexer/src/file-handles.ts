// How many repos may be in flight with the file handles that this process may have: the limit of the system in, a number out.
// Handles are taken by sockets, in use and idle, and by the temporary files of big repos; without this, a machine with a low
// limit would answer every connection of a crawl with EMFILE, and hosts would be taken for dead.
import { readFileSync } from 'node:fs'

/** Of the database, threads, logs, listings and look-ups. */
const otherHandles = 150
/** A socket in use, one that is kept for a moment for the next request, and a temporary file. */
const handlesPerRepo = 3

/** At least 1, at most `wanted`. Node has raised the soft limit to the hard one at its start. */
export function reposForHandles(wanted: number, maxHandles = maxOpenFiles()): number {
  return Math.max(1, Math.min(wanted, Math.floor((maxHandles - otherHandles) / handlesPerRepo)))
}

/** Where there is no /proc, no limit is known. */
function maxOpenFiles(): number {
  try {
    const [, soft] = /^Max open files\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? []
    return soft === undefined ? Number.POSITIVE_INFINITY : Number(soft)
  } catch {
    return Number.POSITIVE_INFINITY
  }
}
