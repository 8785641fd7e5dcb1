// What a piece of work cost Postgres, and how much of the machine others had meanwhile: a look before and one after, numbers out.
// The surprise: a fixed piece of work, done by this process alone beside every step. Where that takes more processor time too, a step
// was slow because of the machine, not because of the rows that were there.
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { Database } from '../src/database.ts'

interface Counts {
  walBytes: number
  fullPages: number
  checkpoints: number
  evicted: number
  writtenBytes: number
  keyReads: number
  keyHits: number
}

export interface Look extends Counts {
  postgresMs: number
  ownMs: number
  /** Of all processors, also what other virtual machines took from this one. */
  busyMs: number
  allMs: number
}

export interface Cost {
  postgresMicrosPerRow: number
  walBytesPerRow: number
  /** Of tables and indexes. */
  writtenBytesPerRow: number
  /** Whole pages in the WAL, for 1,000 rows. */
  fullPagesPerMille: number
  /** Pages that a session had to write itself to find room in the buffers, for 1,000 rows. */
  evictedPerMille: number
  checkpoints: number
  /** Of 1,000 looks at a page of a key's index, those that Postgres did not find in its own cache. */
  keyMissesPerMille: number
  othersPercent: number
}

export async function look({ pool }: Database, postgres: { cpuMs(): number }): Promise<Look> {
  const { rows } = await pool.query<Counts>(readCounts)
  const [counts] = rows
  if (counts === undefined) throw new Error('one row of counts')
  const { user, system } = process.cpuUsage()
  return { ...counts, postgresMs: postgres.cpuMs(), ownMs: (user + system) / 1000, ...machine() }
}

export function costBetween(before: Look, after: Look, rows: number): Cost {
  const grown = (name: keyof Look) => after[name] - before[name]
  const perRow = (count: number) => Number((count / rows).toFixed(2))
  const looks = grown('keyReads') + grown('keyHits')
  const others = grown('busyMs') - grown('postgresMs') - grown('ownMs')
  return {
    postgresMicrosPerRow: perRow(grown('postgresMs') * 1000),
    walBytesPerRow: perRow(grown('walBytes')),
    writtenBytesPerRow: perRow(grown('writtenBytes')),
    fullPagesPerMille: perRow(grown('fullPages') * 1000),
    evictedPerMille: perRow(grown('evicted') * 1000),
    checkpoints: grown('checkpoints'),
    keyMissesPerMille: Number(((grown('keyReads') * 1000) / Math.max(1, looks)).toFixed(2)),
    othersPercent: Math.max(0, Math.round((others * 100) / Math.max(1, grown('allMs')))),
  }
}

const probeBytes = new Uint8Array(32 * 1024 * 1024).map((_, index) => index)

/** Processor time of hashing and copying the same bytes, in ms. Waiting for a processor is not in it. */
export function probe(): number {
  const before = process.cpuUsage()
  createHash('sha256').update(probeBytes).digest()
  for (let times = 0; times < 4; times++) probeBytes.slice()
  const { user, system } = process.cpuUsage(before)
  return Math.round((user + system) / 1000)
}

/** cpu  user nice system idle iowait irq softirq steal ... */
function machine(): { busyMs: number; allMs: number } {
  const [line = ''] = readFileSync('/proc/stat', 'latin1').split('\n')
  const ticks = line.split(/\s+/).slice(1, 9).map(Number)
  const all = ticks.reduce((sum, one) => sum + one, 0)
  const [, , , idle = 0, waiting = 0] = ticks
  return { busyMs: (all - idle - waiting) * userTickMs, allMs: all * userTickMs }
}

const userTickMs = 10 // USER_HZ

const readCounts = `
  select wal_bytes::float8 as "walBytes", wal_fpi::float8 as "fullPages",
    (select (num_timed + num_requested)::float8 from pg_stat_checkpointer) as checkpoints,
    (select coalesce(sum(writes), 0)::float8 from pg_stat_io where backend_type = 'client backend' and object = 'relation') as evicted,
    (select coalesce(sum(coalesce(write_bytes, 0) + coalesce(extend_bytes, 0)), 0)::float8 from pg_stat_io where object = 'relation')
      as "writtenBytes",
    (select coalesce(sum(idx_blks_read), 0)::float8 from pg_statio_user_indexes where schemaname = 'atproto' and relname ~ '_rows$')
      as "keyReads",
    (select coalesce(sum(idx_blks_hit), 0)::float8 from pg_statio_user_indexes where schemaname = 'atproto' and relname ~ '_rows$')
      as "keyHits"
  from pg_stat_wal`
