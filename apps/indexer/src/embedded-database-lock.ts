// Lets one process at a time start or stop the server of a directory: a directory in, a lock out.
// SQLite's file lock is used because the kernel frees it when its holder is killed, and Node has no flock. Its journal stays in memory:
// a server must stop on a full disk, too.
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { IndexerError } from './errors.ts'

const lockTimeoutMs = 15 * 60_000 // a starter may be in crash recovery of a large database
const sqliteBusy = 5

export async function lockDirectory(directory: string): Promise<AsyncDisposable> {
  const path = join(directory, 'start.lock')
  const file = new DatabaseSync(path, { timeout: 0 })
  const deadline = Date.now() + lockTimeoutMs
  for (;;) {
    try {
      file.exec('pragma journal_mode = memory; begin exclusive')
      break
    } catch (error) {
      const busy = error instanceof Error && 'errcode' in error && error.errcode === sqliteBusy
      if (busy && Date.now() < deadline) {
        await sleep(25)
        continue
      }
      file.close()
      const message = busy
        ? `another process has been starting or stopping the database of ${directory} for ${lockTimeoutMs / 60_000} minutes`
        : `cannot lock ${path}`
      throw new IndexerError('EmbeddedDatabaseFailed', message, { cause: error, details: { path } })
    }
  }
  return {
    [Symbol.asyncDispose]: async () => {
      file.exec('rollback')
      file.close()
    },
  }
}
