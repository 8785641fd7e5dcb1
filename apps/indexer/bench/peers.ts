// How much faster are the same CARs in the same Postgres by us than by the peers? `npm run bench:peers [-- --json] [--scale 1]`
// [--rounds 1] [--warm-up 400] [--sides ours,atcute]. The repos are those of bench:pipeline; all sides together take 40 minutes for them.
// Each side starts with the CARs in memory and a fresh database; the clock starts when its first 400 repos are committed, so that its
// code is compiled, and stops at its last commit. All but tap end with the same keyed tables, whose views show the very same rows,
// which is checked: peers store values as they are, ours in short forms. The whole indexer and tap fetch the CARs from a farm on
// loopback instead, their start included. Sides take turns, each in a process of its own.
import { spawn } from 'node:child_process'
import { cpus } from 'node:os'
import { text } from 'node:stream/consumers'
import { parseArgs } from 'node:util'
import { median } from './median.ts'
import { tables } from './peers-rows.ts'
import type { SideAnswer, SideArgs, SideName } from './peers-side.ts'
import { installTap, runTap } from './peers-tap.ts'
import { ask, openBenchPostgres } from './pipeline-postgres.ts'
import { storeRepos } from './pipeline-repos.ts'
import { compileCacheEnv, runIndexer, startFarm } from './pipeline-run.ts'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    scale: { type: 'string', default: '1' },
    seed: { type: 'string', default: process.env.SEED ?? '1' },
    rounds: { type: 'string', default: '1' },
    'warm-up': { type: 'string', default: '400' },
    sides: { type: 'string', default: '' },
  },
})

interface Side {
  name: string
  /** What it checks of what it reads, and what it writes beside the rows. */
  does: string
  run: (url: string) => Promise<SideAnswer>
  /** Its rows lie in our tables. */
  compared: boolean
}

/** Each with the side of ours that gets its CARs in the same way. */
const peers = [
  ['@atproto/repo + kysely', 'ours'],
  ['@atcute/repo + kysely', 'ours'],
  ['tap', 'the whole indexer'],
] as const
/** The first is the launcher's: without it a thread marked its heap 60 times in 1.28 million rows in place of never. All sides have it. */
const nodeFlags = ['--initial-old-space-size=96', '--conditions=workspace-source']
const hosts = 8
const scale = Number(values.scale)
const { dir, repos } = await storeRepos({
  seed: Number(values.seed),
  repos: Math.round(20_000 * scale),
  bigRepos: 3,
  bigBytes: 100 * 1024 * 1024 * scale,
})
await using postgres = await openBenchPostgres()
const skipped: Record<string, string> = {}
const sides = wanted([
  fromMemory('ours', 'hashes, tree, signature, rev; counts and states committed with the rows'),
  {
    name: 'the whole indexer',
    does: 'the same, and listing, resolving and HTTP',
    run: runWhole,
    compared: true,
  },
  fromMemory('@atproto/repo + kysely', 'no hashes, no key order or depth, no signature'),
  fromMemory('@atcute/repo + kysely', 'no hashes, no key order or depth, no signature'),
  {
    name: 'tap',
    does: 'hashes and signature; (did, collection, rkey, cid) and the record as JSON into SQLite, no columns',
    run: () => runTap(dir, { hosts }),
    compared: false,
  },
])
const answers = new Map<Side, SideAnswer[]>(sides.map((side) => [side, []]))
let expected: string | undefined
for (let round = 0; round < Number(values.rounds); round++) {
  for (const side of sides) {
    process.stderr.write(`round ${round + 1}: ${side.name}\n`)
    const url = await postgres.freshDatabase()
    answers.get(side)?.push(await side.run(url))
    if (side.compared) await compareRows(url, side)
  }
}
report(await postgres.settings())

function wanted(all: readonly Side[]): Side[] {
  const words = values.sides.split(',')
  const chosen = all.filter(({ name }) => words.some((word) => name.includes(word)))
  const reason = chosen.some(({ name }) => name === 'tap') ? installTap() : undefined
  if (reason !== undefined) skipped.tap = reason
  return chosen.filter(({ name }) => skipped[name] === undefined)
}

function fromMemory(side: SideName, does: string): Side {
  const run = async (url: string): Promise<SideAnswer> => {
    const args: SideArgs = { side, dir, url, postgresPid: postgres.pid(), warmUp: Number(values['warm-up']) }
    const path = new URL('./peers-side.ts', import.meta.url).pathname
    const child = spawn(process.execPath, [...nodeFlags, path, JSON.stringify(args)], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: compileCacheEnv(),
    })
    return JSON.parse(await text(child.stdout))
  }
  return { name: side, does, run, compared: true }
}

async function runWhole(url: string): Promise<SideAnswer> {
  await using farm = await startFarm({ dir, hosts })
  const { rows, wallMs, indexer, postgresCpuMs } = await runIndexer({ farm, postgres, url })
  return { rows, wallMs, cpuMs: indexer.cpuMs, postgresCpuMs, peakRssMiB: indexer.peakRssBytes / 1024 / 1024 }
}

/** A sum over all that the views show of all rows: the same for each side, or the bench is none. Only `sort_at` knows when a row came. */
async function compareRows(url: string, { name }: Side): Promise<void> {
  const sums = await Promise.all(Object.values(tables).map((table) => sumOf(url, table.replace(/_rows$/, ''))))
  const found = JSON.stringify(sums)
  expected ??= found
  if (found !== expected) throw new Error(`${name} wrote other rows: ${found}, not ${expected}`)
}

async function sumOf(url: string, view: string): Promise<unknown> {
  const columns = await ask<{ names: string }>(
    url,
    `select string_agg(quote_ident(attname), ', ' order by attnum) as names from pg_attribute
     where attrelid = 'atproto."${view}"'::regclass and attnum > 0 and attname <> 'sort_at'`,
  )
  return await ask(
    url,
    `select count(*)::text as rows, sum(hashtextextended(row(${columns[0]?.names})::text, 0)::numeric)::text as sum
     from atproto."${view}"`,
  )
}

function report(settings: Record<string, string>): void {
  const machine = {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    node: process.version,
    postgres: settings,
  }
  const name = `${repos.length} repos`
  const cases = [...answers].map(([side, runs]) => {
    const middle = (value: (run: SideAnswer) => number) => median(runs.map(value))
    const rows = runs[0]?.rows ?? 0
    const medianMs = middle(({ wallMs }) => wallMs)
    const perRow = (ms: number) => round((ms * 1000) / rows)
    return {
      case: name,
      side: side.name,
      medianMs: Math.round(medianMs),
      reps: runs.length,
      rows,
      rowsPerSecond: Math.round((rows * 1000) / medianMs),
      peakRssMiB: Math.round(Math.max(...runs.map(({ peakRssMiB }) => peakRssMiB))),
      cpuMicrosPerRow: {
        side: perRow(middle(({ cpuMs }) => cpuMs)),
        postgres: perRow(middle(({ postgresCpuMs }) => postgresCpuMs)),
      },
      does: side.does,
    }
  })
  const ratios = Object.fromEntries(
    peers.flatMap(([peer, own]) => {
      const [theirs, ours] = [peer, own].map((side) => cases.find((one) => one.side === side))
      if (theirs === undefined || ours === undefined) return []
      const cpu = ({ cpuMicrosPerRow: { side, postgres } }: typeof ours) => side + postgres
      return [
        [`${name}/${peer}`, round(ours.rowsPerSecond / theirs.rowsPerSecond)],
        [`${name}, CPU time with Postgres/${peer}`, round(cpu(theirs) / cpu(ours))],
      ]
    }),
  )
  const result = { bench: 'peers', machine, cases, ratios, skipped }
  if (values.json) console.log(JSON.stringify(result))
  else console.dir(result, { depth: null })
}

function round(value: number): number {
  return Math.round(value * 100) / 100
}
