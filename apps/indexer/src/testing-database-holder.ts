// A process that uses the embedded database of a data directory until its stdin ends; tests kill it.
// Prints {"url", "pid"} in one line.
import { text } from 'node:stream/consumers'
import { openEmbeddedDatabase } from './embedded-database.ts'

const [dataDir] = process.argv.slice(2)
if (dataDir === undefined) throw new Error('usage: testing-database-holder.ts DATA_DIR')
process.on('SIGINT', () => {}) // as the indexer does: it drains first
const database = await openEmbeddedDatabase({ dataDir, log: { debug: () => {}, warn: () => {} } })
console.log(JSON.stringify({ url: database.url, pid: database.pid() }))
await text(process.stdin)
await database.stop()
