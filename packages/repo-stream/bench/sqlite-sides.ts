// The temporary file alone, by Node's own SQLite and by better-sqlite3: the bytes of a CAR written as the rows of a disk
// store, in the one transaction that never ends, then read back in an order that has nothing to do with theirs.
import { readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { insertSql, rowBytes, selectSql, setUpSql } from '../src/disk-store.ts'
import { workDir } from './cars.ts'
import type { Side } from './sides.ts'

interface Statement {
  run(...values: (number | Uint8Array)[]): unknown
  get(id: number): unknown
}

interface Database {
  exec(sql: string): unknown
  prepare(sql: string): Statement
  close(): unknown
}

/** Rows between one that is read and the next: a prime, so that all get their turn. */
const stride = 7919

export const nodeSqlite = rowsThrough((path) => new DatabaseSync(path))
export const betterSqlite = rowsThrough(openBetterSqlite)

function rowsThrough(open: (path: string) => Database): Side {
  return async (path) => {
    const bytes = readFileSync(path)
    const rows = Math.floor(bytes.length / rowBytes)
    return () => {
      const file = join(workDir, `rows-${process.pid}.sqlite`)
      const database = open(file)
      try {
        database.exec(setUpSql)
        const insert = database.prepare(insertSql)
        for (let id = 0; id < rows; id++) insert.run(id, bytes.subarray(id * rowBytes, (id + 1) * rowBytes))
        const select = database.prepare(selectSql)
        let read = 0
        for (let i = 0; i < rows; i++) read += bytesOf(select.get((i * stride) % rows)).length
        return { records: rows, bytes: read }
      } finally {
        database.close()
        rmSync(file, { force: true })
      }
    }
  }
}

function bytesOf(row: unknown): Uint8Array {
  if (typeof row === 'object' && row !== null && 'bytes' in row && row.bytes instanceof Uint8Array) return row.bytes
  throw new TypeError('a row is missing')
}

function openBetterSqlite(path: string): Database {
  const load: unknown = createRequire(import.meta.url)('better-sqlite3')
  const database: unknown = typeof load === 'function' ? Reflect.construct(load, [path]) : undefined
  if (isDatabase(database)) return database
  throw new TypeError('better-sqlite3 is not what it was')
}

function isDatabase(value: unknown): value is Database {
  return typeof value === 'object' && value !== null && 'prepare' in value && 'exec' in value && 'close' in value
}
