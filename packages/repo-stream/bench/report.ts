// The results of a bench: measurements in; JSON, a table for people, and RESULTS.md out.
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'

export interface Measured {
  case: string
  side: string
  medianMs: number
  reps: number
  rows: number
  bytes: number
  peakRssMiB: number
  cpuMs: number
}

export interface Report {
  bench: string
  machine: { cpu: string; cores: number; node: string }
  cases: Measured[]
  /** `case/peer`: the peer's time divided by ours. */
  ratios: Record<string, number>
  /** The same of processor time, which other work on the machine disturbs less. */
  cpuRatios: Record<string, number>
  /** What was left out, and why. */
  skipped: string[]
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((left, right) => left - right)
  return sorted[sorted.length >> 1] ?? Number.NaN
}

export function makeReport(cases: Measured[], ours: ReadonlyMap<string, string>, skipped: string[]): Report {
  const ratios: Record<string, number> = {}
  const cpuRatios: Record<string, number> = {}
  for (const { case: name, side, medianMs, cpuMs } of cases) {
    const own = cases.find((other) => other.case === name && other.side === ours.get(name))
    if (own && own.side !== side) {
      ratios[`${name}/${side}`] = round(medianMs / own.medianMs)
      cpuRatios[`${name}/${side}`] = round(cpuMs / own.cpuMs)
    }
    const verified = cases.find((other) => other.case === name && other.side.endsWith('ours verified'))
    if (verified && isPeer(side)) ratios[`${name}/${side} to verified`] = round(medianMs / verified.medianMs)
  }
  for (const name of new Set(cases.map((measured) => measured.case))) {
    const [bare, verified, hashing] = ['ours', 'ours verified', 'hashing alone'].map(
      (side) => cases.find((measured) => measured.case === name && measured.side === side)?.medianMs,
    )
    if (bare && verified && hashing) ratios[`${name}/verification per hashing`] = round((verified - bare) / hashing)
  }
  const [processor] = cpus()
  const machine = { cpu: processor?.model ?? 'unknown', cores: cpus().length, node: process.version }
  return { bench: 'repo-stream', machine, cases, ratios, cpuRatios, skipped }
}

function isPeer(side: string): boolean {
  return !side.includes('ours') && side !== 'hashing alone'
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}

/** A report that a run with --json has printed into a file. */
export function readReport(path: string): Report {
  const value: unknown = JSON.parse(readFileSync(path, 'utf8'))
  if (isReport(value)) return value
  throw new TypeError(`${path} holds no report of this bench`)
}

function isReport(value: unknown): value is Report {
  return typeof value === 'object' && value !== null && 'bench' in value && value.bench === 'repo-stream'
}

/** The reports as one: a case stays whole, as its sides ran together. */
export function mergeReports(reports: readonly Report[]): Report {
  const [first] = reports
  if (first === undefined) throw new TypeError('there is no report to merge')
  return {
    ...first,
    cases: reports.flatMap((report) => report.cases),
    ratios: Object.assign({}, ...reports.map((report) => report.ratios)),
    cpuRatios: Object.assign({}, ...reports.map((report) => report.cpuRatios)),
    skipped: [...new Set(reports.flatMap((report) => report.skipped))],
  }
}

/** One line a side, the side's time and how many times ours it is. */
export function table(report: Report): string {
  const lines: string[] = []
  let current = ''
  for (const { case: name, side, medianMs, cpuMs, reps, rows, peakRssMiB } of report.cases) {
    if (name !== current) lines.push('', `${name} (${rows} records, ${reps} repetitions)`)
    current = name
    const key = `${name}/${side}`
    const time = `${formatMs(medianMs).padStart(9)} ms ${formatTimes(report.ratios[key])}`
    const cpu = `${formatMs(cpuMs).padStart(11)} ms CPU ${formatTimes(report.cpuRatios[key])}`
    lines.push(`  ${side.padEnd(26)}${time}${cpu} ${String(peakRssMiB).padStart(7)} MiB peak`)
  }
  return lines.join('\n')
}

function formatTimes(ratio: number | undefined): string {
  return (ratio === undefined ? '' : `${ratio.toFixed(2)} x`).padStart(9)
}

function formatMs(ms: number): string {
  return ms < 10 ? ms.toFixed(3) : ms.toFixed(0)
}

/** Keeps the run in RESULTS.md, with commit, date and machine. */
export function writeResults(report: Report): void {
  const { machine, skipped } = report
  const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
  const head = [
    '# Results of the bench',
    '',
    'The last run of `npm run bench -w packages/repo-stream -- --write`. Times are medians, of the clock and of the processor;',
    '`x` is how many times that of our own side (the first line of a case). Peers check less: neither @atcute/repo nor @ipld/car nor the crate checks a hash.',
    'Before a CAR of 128 or 450 MiB every side in JavaScript has walked one of 5 MiB ten times, so that its code is compiled; `cold` sides have not.',
    'A side is asked when no other uses the processor any more: collecting garbage and compiling go on after an answer.',
    '',
    `Commit ${commit}, ${new Date().toISOString().slice(0, 10)}, ${machine.cpu}, ${machine.cores} cores, Node ${machine.node}.`,
    ...skipped.map((line) => `Left out: ${line}.`),
    '',
    '```',
    table(report).trim(),
    '',
    ...Object.entries(report.ratios)
      .filter(([name]) => name.endsWith('per hashing'))
      .map(([name, ratio]) => `${name}: ${ratio}`),
    '```',
    '',
  ]
  writeFileSync(join(import.meta.dirname, '../RESULTS.md'), head.join('\n'))
}
