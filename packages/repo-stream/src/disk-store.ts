// The temporary file of a spilled walk: an SQLite table of numbered rows, 64 KiB each but for large blocks. All of it
// is one transaction that never ends, so nothing is journaled. The file is unlinked once it is open: a kill leaves nothing.
import { existsSync, rmSync, statfsSync } from 'node:fs'
import { dirname } from 'node:path'
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { RepoStreamError } from './errors.ts'
import { checkBytes } from './limits.ts'
import type { DiskStore, DiskStoreOptions, MemoryBudget } from './types.ts'

const defaultCacheBytes = 8 * 1024 * 1024
const defaultMaxStoredBytes = 16 * 1024 ** 3

/** SQLite's greatest page. A call costs some 5 us whatever the size: 64 KiB come at 2.2 GB/s, 8 KiB at 0.9, 4 KiB at 0.4. */
const pageBytes = 65536
/** A page holds one row: less the page's and the cell's headers, rounded down to the grain of addresses. */
export const rowBytes = pageBytes - 56
/** What rows may take of a page, and what each takes beside its bytes, at most. */
const pageRoomBytes = pageBytes - 8
const rowCostBytes = 19

export const setUpSql = `
  pragma page_size = ${pageBytes};
  pragma journal_mode = memory;
  pragma synchronous = off;
  pragma locking_mode = exclusive;
  pragma cache_size = 10;
  begin;
  create table blocks (id integer primary key, bytes blob not null);
`
export const insertSql = 'insert into blocks (id, bytes) values (?, ?)'
export const selectSql = 'select bytes from blocks where id = ?'

/** SQLite's result codes for "no room": the disk's (ENOSPC), and a write that failed, as by a quota or a file size limit. */
const noRoomCodes: readonly unknown[] = [13, 778]

/**
 * Opens a new temporary file for one spilled walk. Give it to `finishLoading`, or close it.
 * Throws `DiskFailed` when the file exists or cannot be made, `DiskFull` when there is no room.
 */
export async function openDiskStore(path: string, options: DiskStoreOptions = {}): Promise<DiskStore> {
  const { cacheBytes = defaultCacheBytes, maxStoredBytes = defaultMaxStoredBytes, budget } = options
  checkBytes('cacheBytes', cacheBytes)
  checkBytes('maxStoredBytes', maxStoredBytes)
  const { DatabaseSync } = await import('node:sqlite') // only who spills pays for loading it
  if (existsSync(path))
    throw new RepoStreamError('DiskFailed', `there is a file already: ${path}`, { details: { path } })
  return guard(path, () => {
    const database = new DatabaseSync(path)
    try {
      database.exec(setUpSql)
      rmSync(path)
    } catch (error) {
      database.close()
      rmSync(path, { force: true })
      throw error
    }
    return new SqliteStore(path, database, { cacheBytes, maxStoredBytes, budget })
  })
}

export class SqliteStore implements DiskStore {
  readonly path: string
  readonly cacheBytes: number
  storedBytes = 0
  readonly #maxStoredBytes: number
  readonly #budget: MemoryBudget | undefined
  readonly #database: DatabaseSync
  readonly #insert: StatementSync
  readonly #select: StatementSync
  /** Of the page that the last row went into: SQLite puts the next one there, too, if it fits. */
  #pageRestBytes = 0
  #closed = false
  #owned = false

  constructor(
    path: string,
    database: DatabaseSync,
    options: DiskStoreOptions & { cacheBytes: number; maxStoredBytes: number },
  ) {
    this.path = path
    this.cacheBytes = options.cacheBytes
    this.#maxStoredBytes = options.maxStoredBytes
    this.#budget = options.budget
    this.#database = database
    this.#insert = database.prepare(insertSql)
    this.#select = database.prepare(selectSql)
  }

  /** A store serves one walk. */
  own(): void {
    if (this.#closed || this.#owned)
      throw new RepoStreamError('Closed', 'a disk store serves one walk, and this one is in use or closed')
    this.#owned = true
  }

  /** For a walk that has ended before it could own the store. */
  async closeUnused(): Promise<void> {
    if (!this.#owned) await this.close()
  }

  /** By its own limit, and by the disk and the budget now: others may take what these have. */
  hasRoomFor(bytes: number): boolean {
    if (this.storedBytes + bytes > this.#maxStoredBytes || freeBytes(this.path) < bytes) return false
    if (this.#budget?.take(bytes) === false) return false
    this.#budget?.give(bytes)
    return true
  }

  write(id: number, bytes: Uint8Array): void {
    const rowTakes = bytes.length + rowCostBytes
    if (rowTakes > this.#pageRestBytes) this.#takePage()
    this.#pageRestBytes -= rowTakes
    guard(this.path, () => this.#insert.run(id, bytes))
  }

  read(id: number): Uint8Array {
    const row = guard(this.path, () => this.#select.get(id))
    const bytes = row?.bytes
    if (!(bytes instanceof Uint8Array))
      throw new RepoStreamError('DiskFailed', `row ${id} is missing in the temporary file`)
    return bytes
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#budget?.give(this.storedBytes)
    this.#database.close()
    rmSync(this.path, { force: true })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #takePage(): void {
    if (this.storedBytes + pageBytes > this.#maxStoredBytes) {
      throw new RepoStreamError('StoredBytesLimit', `the walk needs more than ${this.#maxStoredBytes} bytes of disk`, {
        details: { maxStoredBytes: this.#maxStoredBytes },
      })
    }
    if (this.#budget?.take(pageBytes) === false) {
      throw new RepoStreamError('StoreBudgetSpent', 'all walks together may use no more of the disk', {
        details: { storedBytes: this.storedBytes },
      })
    }
    this.storedBytes += pageBytes
    this.#pageRestBytes = pageRoomBytes
  }
}

function freeBytes(path: string): number {
  try {
    const { bavail, bsize } = statfsSync(dirname(path))
    return bavail * bsize
  } catch {
    return Number.POSITIVE_INFINITY // a file system that does not say: writing will
  }
}

function guard<T>(path: string, work: () => T): T {
  try {
    return work()
  } catch (cause) {
    const options = { cause, details: { path } }
    if (cause instanceof Error && 'errcode' in cause && noRoomCodes.includes(cause.errcode)) {
      throw new RepoStreamError('DiskFull', `no room for the temporary file ${path}`, options)
    }
    throw new RepoStreamError('DiskFailed', `the temporary file ${path} failed`, options)
  }
}
