// Killed crawls until so many blows have hit, each round with the next seed:
// `node --conditions=workspace-source testing/network/resume-soak.ts --blows 300 --seed 1`. One line of JSON a round; stops at the first
// that goes wrong, with exit code 1 and its seed.
import { parseArgs } from 'node:util'
import { createRandom } from 'repo-stream/fixtures'
import { crawlUnderBlows, randomBlows } from './resume.ts'

const { values } = parseArgs({
  options: { blows: { type: 'string', default: '300' }, seed: { type: 'string', default: '1' } },
})

for (let seed = Number(values.seed), hits = 0; hits < Number(values.blows); seed++) {
  const startedMs = performance.now()
  const report = await crawlUnderBlows(seed, randomBlows(createRandom(`blows ${seed}`), 12))
  hits += report.hits
  process.stdout.write(`${JSON.stringify({ seed, ...report, ms: Math.round(performance.now() - startedMs) })}\n`)
  if (report.differences.length === 0) continue
  process.stderr.write(`seed ${seed} went wrong; the same again: --seed ${seed} --blows 1\n`)
  process.exit(1)
}
