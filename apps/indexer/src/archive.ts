// The archive: the CAR of every repo that was verified, compressed, so that another config can be served without the network.
// One file for each DID: zstd frames that decompress to the CAR as it came, then a skippable frame that says whose it is and of
// which commit. The surprise: nothing is synced. A kill leaves the old or the new file; what a power cut loses or cuts short
// is recognised when it is read (archive-read.ts), for it is verified like anything from the network.
import { createHash } from 'node:crypto'
import { readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { removeStaleSpills, spillPath } from 'repo-stream'
import { IndexerError, innermost, reasonOf } from './errors.ts'

/** What the end of a file says about it. */
export interface ArchivedCar {
  did: string
  rev: string
  /** CID of the commit, 36 bytes in hex. */
  head: string
  /** Compressed lengths of the frames, in order; their end is where this begins. */
  frames: number[]
}

/** Magic number of a skippable frame; decompressors pass over it. */
export const trailerMagic = 0x184d2a5f
/** A frame holds at least so much of the CAR, unless it is the last: what a repo in flight holds back, and what one read takes. */
export const frameBytes = 256 * 1024

/** Where the CAR of a DID is. A DID is a stranger's text, so its hash makes the name; 65,536 folders keep each of them small. */
export function archivePath(dir: string, did: string): string {
  const name = createHash('sha256').update(did).digest('hex')
  return join(dir, name.slice(0, 2), name.slice(2, 4), `${name}.car.zst`)
}

/** A path for a file that is not whole yet, in the same file system. */
export function unfinishedPath(dir: string): string {
  return spillPath(unfinishedFolder(dir), 'car.zst')
}

/** Makes the folder where it is missing, and removes what killed processes left unfinished in it. */
export async function openArchive(dir: string): Promise<void> {
  try {
    await removeStaleSpills(unfinishedFolder(dir))
  } catch (cause) {
    throw unwritable(dir, cause)
  }
}

/** Throws `FileUnusable` where there is none. */
export async function findArchive(dir: string): Promise<void> {
  try {
    await readdir(unfinishedFolder(dir))
  } catch (cause) {
    const message = `there is no archive in ${dir}: give the folder that \`run\` had as --archive (${reasonOf(cause)})`
    throw new IndexerError('FileUnusable', message, { cause, details: { path: dir } })
  }
}

/** The CARs of accounts whose rows are about to be removed for good. */
export async function removeArchived(dir: string, dids: readonly string[]): Promise<void> {
  try {
    for (const did of dids) await rm(archivePath(dir, did), { force: true })
  } catch (cause) {
    throw unwritable(dir, cause)
  }
}

/** A disk that is full may have room later; a folder that is not permitted is a mistake. */
export function unwritable(dir: string, cause: unknown): IndexerError {
  const message = `the archive ${dir} cannot be written: ${reasonOf(cause)}`
  const code = mistakes.has(innermost(cause).code) ? 'FileUnusable' : 'ArchiveUnwritable'
  return new IndexerError(code, message, { cause, details: { path: dir } })
}

const mistakes: ReadonlySet<unknown> = new Set(['EACCES', 'EPERM', 'EROFS', 'ENOTDIR', 'EEXIST'])

function unfinishedFolder(dir: string): string {
  return join(dir, 'unfinished')
}
