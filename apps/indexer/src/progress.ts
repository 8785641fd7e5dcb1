// What a person sees of a run: the line while it works and the summary at its end. Pure functions of a status: no I/O.
// An unknown number is shown as unknown (`?`), never as zero.
import type { SourceProgress } from './discover.ts'
import type { Balance } from './repo-states.ts'

export interface Status {
  /** Repos by state over the whole database, not this run alone. */
  balance: Balance
  /** True while the listing still finds repos, so that `discovered` is not the total yet. */
  discovering: boolean
  /** What this run lists, or has listed. */
  sources: readonly SourceProgress[]
  /** Rows and rejected records written by this run, in transactions that have committed. */
  rows: number
  rejected: number
  /** Repos that this run has brought to `done`. */
  repos: number
  fetchedBytes: number
  /** Failed tries of this run, by code. */
  errors: ReadonlyMap<string, number>
  elapsedMs: number
  heldBytes: number
  /** That index at this moment. */
  threads: number
}

export interface Rates {
  reposPerSecond: number | undefined
  rowsPerSecond: number | undefined
}

/** Rates over the last `windowMs` of the statuses that it has been shown. */
export function createRateMeter(windowMs = 10_000): (status: Status) => Rates {
  const seen = [{ atMs: 0, repos: 0, rows: 0 }]
  return (status) => {
    seen.push({ atMs: status.elapsedMs, repos: status.repos, rows: status.rows })
    while (seen.length > 2 && status.elapsedMs - (seen[1]?.atMs ?? 0) >= windowMs) seen.shift()
    const first = seen[0]
    const seconds = first ? (status.elapsedMs - first.atMs) / 1000 : 0
    if (!first || seconds <= 0) return { reposPerSecond: undefined, rowsPerSecond: undefined }
    return {
      reposPerSecond: (status.repos - first.repos) / seconds,
      rowsPerSecond: (status.rows - first.rows) / seconds,
    }
  }
}

/** `1,204 of 5,310+ repos done  88/s  120,400 rows  9,120/s  3 rejected  2 failed  1 retry  12 gone  eta 46 s` */
export function renderProgress(status: Status, rates: Rates): string {
  const { balance } = status
  const settled = balance.done + balance.gone + balance.failed
  const parts = [
    `${count(balance.done)} of ${count(balance.discovered)}${status.discovering ? '+' : ''} repos done`,
    `${rate(rates.reposPerSecond)}/s`,
    `${count(status.rows)} rows`,
    `${rate(rates.rowsPerSecond)}/s`,
    ...(status.discovering ? status.sources.flatMap(({ hosts }) => (hosts ? `listing ${hostsOf(hosts)}` : [])) : []),
    ...(['working', 'retry', 'stale', 'gone', 'failed'] as const).flatMap((state) =>
      balance[state] > 0 ? `${count(balance[state])} ${state}` : [],
    ),
    ...(status.rejected > 0 ? [`${count(status.rejected)} rejected`] : []),
    ...(errorCount(status) > 0 ? [`${count(errorCount(status))} errors`] : []),
  ]
  const left = balance.discovered - settled
  if (!status.discovering && left > 0 && rates.reposPerSecond)
    parts.push(`eta ${duration((left / rates.reposPerSecond) * 1000)}`)
  return parts.join('  ')
}

export interface Summary extends Status {
  /** Rows of each table over the whole database. */
  tables: readonly { name: string; rows: number }[]
  /** Rejected records over the whole database, by code. */
  rejects: readonly { code: string; records: number }[]
  /** Sources that could not be read to their end, with the code of why: there may be repos that nobody has heard of. */
  unlisted: readonly { source: string; code: string }[]
  peakHeldBytes: number
  peakRssBytes: number
  interrupted: boolean
}

/** The page at the end of a run; every number of repos, rows and rejects is what the database holds. */
export function renderSummary(summary: Summary): string {
  const { balance } = summary
  const seconds = summary.elapsedMs / 1000
  const states = (['done', 'gone', 'failed', 'retry', 'stale', 'waiting', 'working'] as const)
    .flatMap((state) => (balance[state] > 0 || state === 'done' ? `${count(balance[state])} ${state}` : []))
    .join(' + ')
  const width = Math.max(0, ...summary.tables.map((table) => table.name.length))
  const lines = [
    headline(summary),
    '',
    `repos    ${count(balance.discovered)} discovered = ${states}`,
    `rows     ${count(summary.tables.reduce((sum, table) => sum + table.rows, 0))}`,
    ...summary.tables.flatMap((table) =>
      table.rows > 0 ? `         ${table.name.padEnd(width)}  ${count(table.rows).padStart(12)}` : [],
    ),
    ...summary.sources.map((source, index) => `${(index === 0 ? 'sources' : '').padEnd(8)} ${describeSource(source)}`),
    ...list(
      'unlisted',
      summary.unlisted.map(({ source, code }) => [source, code]),
    ),
    ...list(
      'rejects',
      summary.rejects.map((reject) => [reject.code, reject.records]),
    ),
    ...list('errors', [...summary.errors]),
    `this run ${count(summary.repos)} repos and ${count(summary.rows)} rows in ${duration(summary.elapsedMs)}` +
      ` (${rate(summary.repos / seconds)} repos/s, ${rate(summary.rows / seconds)} rows/s), ${size(summary.fetchedBytes)} fetched`,
    `memory   ${size(summary.peakHeldBytes)} held at most, ${size(summary.peakRssBytes)} of the process`,
  ]
  return `${lines.join('\n')}\n`
}

function headline({ interrupted, unlisted }: Summary): string {
  if (interrupted) return 'Stopped; the same command goes on from here.'
  if (unlisted.length === 0) return 'The crawl is complete.'
  return 'Not complete: what was listed is crawled, but not every source was read to its end. The same command goes on from here.'
}

/** `file /tmp/dids  490 listed, 3 of no use`; `hosts of https://relay.example  1,204,311 listed, 1,980 of 2,010 hosts, 30 unreachable` */
function describeSource({ name, listed, refused, hosts }: SourceProgress): string {
  const parts = [
    `${count(listed)} listed`,
    ...(refused > 0 ? [`${count(refused)} of no use`] : []),
    ...(hosts ? [hostsOf(hosts)] : []),
  ]
  return `${name}  ${parts.join(', ')}`
}

function hostsOf({ listed, known, unreachable }: NonNullable<SourceProgress['hosts']>): string {
  return `${count(listed)} of ${count(known)} hosts${unreachable > 0 ? `, ${count(unreachable)} unreachable` : ''}`
}

function list(title: string, items: readonly (readonly [string, number | string])[]): string[] {
  return items.map(([name, value], index) => {
    const shown = typeof value === 'number' ? count(value) : value
    return `${(index === 0 ? title : '').padEnd(8)} ${name}  ${shown}`
  })
}

function errorCount(status: Status): number {
  return status.errors.values().reduce((sum, value) => sum + value, 0)
}

export function count(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 0 })
}

function rate(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return '?'
  return value < 10 ? value.toFixed(1) : count(value)
}

export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = Math.min(units.length - 1, Math.floor(Math.log2(Math.max(1, bytes)) / 10))
  const value = bytes / 1024 ** power
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power]}`
}

export function duration(ms: number): string {
  const seconds = ms / 1000
  if (seconds < 10) return `${seconds.toFixed(1)} s`
  if (seconds < 120) return `${Math.round(seconds)} s`
  const minutes = Math.round(seconds / 60)
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}
