// One side of the bench in its own process: the side's name and a CAR path as arguments, and perhaps a smaller CAR to walk
// `warmWalks` times first, so that the code is compiled. For each line `run N` on stdin it walks N times and answers with
// one line of JSON: milliseconds and CPU per walk, what was counted, peak RSS.
import { createInterface } from 'node:readline'
import { sides } from './sides.ts'

export interface SideAnswer {
  ms: number
  cpuMs: number
  records: number
  bytes: number
  peakRssMiB: number
}

const warmWalks = 10

const [name = '', path = '', smallPath] = process.argv.slice(2)
const load = sides[name]
if (load === undefined) throw new Error(`no such side: ${name}`)
const side = await load()
if (smallPath !== undefined) {
  const walkSmall = await side(smallPath)
  for (let i = 0; i < warmWalks; i++) await walkSmall()
}
const walk = await side(path)
for await (const line of createInterface({ input: process.stdin })) {
  const times = Number(line.replace('run ', ''))
  const cpuBefore = process.cpuUsage()
  const started = performance.now()
  let walked = { records: 0, bytes: 0 }
  for (let i = 0; i < times; i++) walked = await walk()
  const ms = (performance.now() - started) / times
  const { user, system } = process.cpuUsage(cpuBefore)
  const answer: SideAnswer = {
    ms,
    cpuMs: (user + system) / 1000 / times,
    ...walked,
    peakRssMiB: Math.round(process.resourceUsage().maxRSS / 1024),
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`)
}
