// Fuzzes for as long as is wanted: npm run fuzz -w packages/repo-stream -- --hours 8 [--seed TEXT] | --round SEED/N
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type FuzzResult, fuzz } from './fuzz.ts'

const { values } = parseArgs({
  options: { hours: { type: 'string', default: '0.1' }, seed: { type: 'string' }, round: { type: 'string' } },
})
const spillDir = mkdtempSync(join(tmpdir(), 'repo-stream-fuzz-'))
const seed = values.seed ?? String(Date.now())
const show = (result: FuzzResult): boolean => process.stdout.write(`${JSON.stringify({ seed, ...result })}\n`)
try {
  if (values.round) {
    const slash = values.round.lastIndexOf('/')
    const from = Number(values.round.slice(slash + 1))
    show(await fuzz({ seed: values.round.slice(0, slash), spillDir, from, rounds: 1 }))
  } else show(await fuzz({ seed, spillDir, forMs: Number(values.hours) * 3_600_000, onProgress: show }))
} finally {
  rmSync(spillDir, { recursive: true, force: true })
}
