// Our side of the spill bench, on the built package and in plain JavaScript: stripping types would add 36 MB to the peak of
// memory that is measured. Arguments and answers are those of side.ts.
import { createReadStream, mkdirSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { loadCar, openDiskStore, spillPath } from '../dist/index.js'

const [path = '', spillDir = ''] = process.argv.slice(2)
for await (const line of createInterface({ input: process.stdin })) {
  const times = Number(line.replace('run ', ''))
  const cpuBefore = process.cpuUsage()
  const started = performance.now()
  let walked = { records: 0, bytes: 0 }
  for (let i = 0; i < times; i++) walked = await walk()
  const ms = (performance.now() - started) / times
  const { user, system } = process.cpuUsage(cpuBefore)
  const cpuMs = (user + system) / 1000 / times
  const peakRssMiB = Math.round(process.resourceUsage().maxRSS / 1024)
  process.stdout.write(`${JSON.stringify({ ms, cpuMs, ...walked, peakRssMiB })}\n`)
}

async function walk() {
  const car = await loadCar(createReadStream(path), { verifyHashes: false, preorder: 'buffer' })
  if (car.kind === 'memory') throw new Error('the CAR fits into memory')
  mkdirSync(spillDir, { recursive: true })
  const { driver } = await car.finishLoading(() => openDiskStore(spillPath(spillDir)))
  const walked = { records: 0, bytes: 0 }
  for (let chunk = await driver.nextChunk(1_000); chunk; chunk = await driver.nextChunk(1_000)) {
    for (const { data } of chunk) {
      walked.records++
      walked.bytes += data.length
    }
  }
  await driver.close()
  return walked
}
