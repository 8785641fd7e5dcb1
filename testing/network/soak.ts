// Simulations until the time is over, each with the next seed: `node --conditions=workspace-source testing/network/soak.ts
// --minutes 60 --seed 1`. One line of JSON each; stops at the first that goes wrong, with exit code 1 and its seed.
import { parseArgs } from 'node:util'
import { simulate } from './simulation.ts'

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: '1' },
    kills: { type: 'string', default: '10' },
    accounts: { type: 'string' },
  },
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(75))

const endMs = performance.now() + Number(values.minutes) * 60_000
for (let seed = Number(values.seed); performance.now() < endMs; seed++) {
  const accounts = values.accounts === undefined ? {} : { accounts: Number(values.accounts) }
  const report = await simulate(seed, { kills: Number(values.kills), ...accounts })
  process.stdout.write(`${JSON.stringify(report)}\n`)
  if (report.differences.length > 0) {
    process.stderr.write(`seed ${seed} went wrong; the same again: --seed ${seed} --minutes 0.01\n`)
    process.exit(1)
  }
}
