// Makes a folder and those above it; gives whether it was missing. In place of `mkdir` with `recursive`, which never returns below /proc,
// where nothing can be made, and says of a read-only file system that there is no such file (Node 24.21).
import { mkdirSync, statSync } from 'node:fs'
import { dirname } from 'node:path'

/** Throws what the system says of the first folder that cannot be made. */
export function makeFolder(path: string): boolean {
  try {
    return makeOne(path)
  } catch (error) {
    const parent = dirname(path)
    if (codeOf(error) !== 'ENOENT' || parent === path) throw error
    makeFolder(parent)
    return makeOne(path)
  }
}

function makeOne(path: string): boolean {
  try {
    mkdirSync(path)
    return true
  } catch (error) {
    if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return false
    throw error
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
