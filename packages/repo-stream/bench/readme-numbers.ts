// The table of numbers in the README, from a report that has the walks of all its columns; another leaves it as it is.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Report } from './report.ts'

const path = join(import.meta.dirname, '../README.md')
const start = '<!-- numbers -->\n'
const end = '<!-- /numbers -->'

/** A real repo or a generated one stands for `tiny`. */
const columns = [
  { title: 'tiny', cases: ['walk tiny', 'walk tiny pds'] },
  { title: '5 MiB', cases: ['walk 5MiB pds'] },
  { title: '128 MiB', cases: ['walk 128MiB pds'] },
] as const

const rows = [
  { title: 'repo-stream', side: 'ours' },
  { title: 'repo-stream, every hash verified', side: 'ours verified' },
  { title: 'the Rust crate repo-stream 0.3.1', side: 'crate memory' },
  { title: '@atcute/repo, streaming', side: 'atcute stream' },
  { title: '@atcute/repo, in memory', side: 'atcute memory' },
  { title: '@ipld/car and a walk', side: 'ipld car' },
  { title: '@atproto/repo', side: 'atproto repo' },
] as const

export function writeReadmeNumbers(report: Report): void {
  const measured = columns.map(({ cases }) => report.cases.filter((one) => cases.some((name) => name === one.case)))
  if (measured.some((sides) => sides.length === 0)) return
  const lines = rows.map(({ title, side }) => {
    const cells = measured.map((sides) => sides.find((one) => one.side === side)?.medianMs)
    return `| ${[title, ...cells.map((ms) => (ms === undefined ? '' : readable(ms)))].join(' | ')} |\n`
  })
  const { cpu, cores, node } = report.machine
  const records = measured.map((sides) => (sides[0]?.rows ?? 0).toLocaleString('en')).join(', ')
  const table = [
    `| ms a walk (${records} records) | ${columns.map(({ title }) => title).join(' | ')} |\n`,
    `| --- |${' ---: |'.repeat(columns.length)}\n`,
    ...lines,
    '\n',
    `Measured on ${cpu}, ${cores} cores, Node ${node}. No peer checks a hash.\n`,
  ]
  const readme = readFileSync(path, 'utf8')
  const from = readme.indexOf(start) + start.length
  const to = readme.indexOf(end)
  if (from < start.length || to < from) throw new TypeError('the README has no place for numbers')
  writeFileSync(path, readme.slice(0, from) + table.join('') + readme.slice(to))
}

function readable(ms: number): string {
  return ms < 1 ? ms.toFixed(3) : Math.round(ms).toLocaleString('en')
}
