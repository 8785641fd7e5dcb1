// Counts the records of a repo by collection: node count-collections.ts repo.car
// A repo of any size is walked within 16 MiB, by way of a temporary file in `spillDir` where it has to be.
import { createReadStream } from 'node:fs'
import { tmpdir } from 'node:os'
import { walkRepo } from 'repo-stream'

const [file = ''] = process.argv.slice(2)
const counts = new Map<string, number>()

for await (const entries of walkRepo(createReadStream(file), { spillDir: tmpdir() })) {
  for (const { collection } of entries) counts.set(collection, (counts.get(collection) ?? 0) + 1)
}

for (const [collection, count] of counts) console.log(`${collection}: ${count}`)
