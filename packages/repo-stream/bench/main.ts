// How much faster than its peers is this package, how much does verification cost, and what does a spilled walk take?
// npm run bench -w packages/repo-stream -- [--json] [--write] [--parts walk,cold,spill,sqlite,decode] [--sizes 5MiB,128MiB]
//   [--orders pds] [--sides ours,crate] [--reps N]     `--sides` keeps the sides whose name contains one of the words
//   [--from a.json,b.json]                             shows or writes what earlier runs with --json have measured
import { parseArgs } from 'node:util'
import { carFile } from './cars.ts'
import { buildPackage, buildPeer, type RunningSide, startSide } from './children.ts'
import { type Case, plan } from './plan.ts'
import { writeReadmeNumbers } from './readme-numbers.ts'
import {
  type Measured,
  makeReport,
  median,
  mergeReports,
  type Report,
  readReport,
  table,
  writeResults,
} from './report.ts'
import { waitForRest } from './rest.ts'
import type { SideAnswer } from './side.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    write: { type: 'boolean', default: false },
    parts: { type: 'string' },
    sizes: { type: 'string' },
    orders: { type: 'string' },
    sides: { type: 'string' },
    reps: { type: 'string' },
    from: { type: 'string' },
  },
})

/** A side that has taken so long is not asked again: @atproto/repo takes 20 s for 128 MiB. */
const enoughMs = 30_000

const skipped: string[] = []
const measured: Measured[] = []
const ours = new Map<string, string>()
const report = values.from ? mergeReports(values.from.split(',').map(readReport)) : await measure()
process.stdout.write(`${values.json ? JSON.stringify(report) : table(report)}\n`)
if (values.write) {
  writeResults(report)
  writeReadmeNumbers(report)
}

async function measure(): Promise<Report> {
  const cases = plan().map(select).filter(isWanted)
  if (cases.some(({ sides }) => sides.some((side) => side.startsWith('crate ')))) await preparePeer(cases)
  if (cases.some(({ sides }) => sides.includes('spill ours'))) buildPackage()
  for (const one of cases) await runCase(one)
  return makeReport(measured, ours, skipped)
}

/** The case with the sides and repetitions that were asked for. */
function select(one: Case): Case {
  const words = values.sides?.split(',')
  const sides = words ? one.sides.filter((side) => words.some((word) => side.includes(word))) : one.sides
  return { ...one, sides, reps: values.reps ? Number(values.reps) : one.reps }
}

function isWanted({ part, size, order, sides }: Case): boolean {
  const allows = (list: string | undefined, value: string): boolean =>
    list === undefined || list.split(',').includes(value)
  return sides.length > 0 && allows(values.parts, part) && allows(values.sizes, size) && allows(values.orders, order)
}

async function preparePeer(cases: readonly Case[]): Promise<void> {
  const reason = await buildPeer()
  if (reason === undefined) return
  skipped.push(`the crate repo-stream, as ${reason}`)
  process.stderr.write(`bench: without the crate: ${reason}\n`)
  for (const one of cases) one.sides = one.sides.filter((side) => !side.startsWith('crate '))
}

async function runCase(one: Case): Promise<void> {
  const { path, source } = await carFile(one.size, one.order)
  const name = `${one.part} ${one.size}${source === 'sample' ? '' : ` ${one.order}`}`
  process.stderr.write(`bench: ${name}\n`)
  ours.set(name, one.ours)
  const paths = one.warmSize === undefined ? [path] : [path, (await carFile(one.warmSize, one.order)).path]
  const answers = one.fresh ? await runFresh(one, path) : await runWarm(one, paths)
  for (const side of one.sides) {
    const own = answers.get(side) ?? []
    const [first] = own
    if (first === undefined) continue
    measured.push({
      case: name,
      side,
      medianMs: median(own.map(({ ms }) => ms)),
      reps: own.length,
      rows: first.records,
      bytes: first.bytes,
      peakRssMiB: Math.max(...own.map(({ peakRssMiB }) => peakRssMiB)),
      cpuMs: Math.round(median(own.map(({ cpuMs }) => cpuMs)) * 1000) / 1000,
    })
  }
}

async function runWarm({ sides, reps, times, warmups }: Case, paths: string[]): Promise<Map<string, SideAnswer[]>> {
  const running: RunningSide[] = []
  try {
    for (const name of sides) {
      const side = startSide(name, ...paths)
      running.push(side)
      await side.ready()
      for (let i = 0; i < warmups; i++) await side.run(times)
    }
    const answers = new Map<string, SideAnswer[]>(sides.map((side) => [side, []]))
    const pids = running.map(({ pid }) => pid)
    for (let rep = 0; rep < reps; rep++) {
      for (const side of running) {
        const own = answers.get(side.name) ?? []
        if (own.reduce((sum, { ms }) => sum + ms * times, 0) > enoughMs) continue
        await waitForRest(pids)
        own.push(await side.run(times))
      }
    }
    return answers
  } finally {
    await Promise.all(running.map((side) => side.stop()))
  }
}

async function runFresh({ sides, reps, times }: Case, path: string): Promise<Map<string, SideAnswer[]>> {
  const answers = new Map<string, SideAnswer[]>(sides.map((side) => [side, []]))
  for (let rep = 0; rep < reps; rep++) {
    for (const name of sides) {
      const side = startSide(name, path)
      answers.get(name)?.push(await side.run(times))
      await side.stop()
    }
  }
  return answers
}
