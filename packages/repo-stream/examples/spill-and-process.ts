// Keeps only the subject of every follow, whatever the repo's size: node spill-and-process.ts repo.car FOLDER
// `process` makes each record small before it is kept; what still does not fit waits until the caller gives a disk store,
// so a program can run many walks in memory and few on disk.
import { createReadStream } from 'node:fs'
import { decodeRecord, loadCar, openDiskStore, spillPath } from 'repo-stream'

const [file = '', folder = '.'] = process.argv.slice(2)
const nothing = new Uint8Array(0)

/** Called for what may be a record before it is known under which key it stands. */
function subjectOfFollow(block: Uint8Array): Uint8Array {
  const { $type, subject } = decodeRecord(block)
  return $type === 'app.bsky.graph.follow' && typeof subject === 'string' ? Buffer.from(subject) : nothing
}

const car = await loadCar(createReadStream(file), { memoryLimitBytes: 1024 * 1024, process: subjectOfFollow })
const { driver } = car.kind === 'memory' ? car : await car.finishLoading(() => openDiskStore(spillPath(folder)))

try {
  for (let entries = await driver.nextChunk(1_000); entries; entries = await driver.nextChunk(1_000)) {
    for (const { key, data, error } of entries) {
      if (error !== undefined) console.error(`${key} is not a record: ${error}`)
      else if (data.length > 0) console.log(`${key} ${Buffer.from(data)}`)
    }
  }
} finally {
  await driver.close()
}
