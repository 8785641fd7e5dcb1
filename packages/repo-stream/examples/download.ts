// Downloads a repo and prints the text of its posts: node download.ts https://pds.example.com did:plc:... did:key:z...
// Nothing is believed before the signature is checked against the account's key, which its DID document names.
import { decodeRecord, loadCar, verifyCommit } from 'repo-stream'

const [host = '', did = '', signingKey = ''] = process.argv.slice(2)
const response = await fetch(`${host}/xrpc/com.atproto.sync.getRepo?did=${encodeURIComponent(did)}`)
if (!response.ok || response.body === null) throw new Error(`getRepo answered ${response.status}`)

const car = await loadCar(response.body, { memoryLimitBytes: 256 * 1024 * 1024 })
if (car.kind === 'disk') {
  await car.discard()
  throw new Error('the repo is larger than this example wants')
}
const { commit, driver } = car
try {
  if (commit.did !== did) throw new Error(`this is the repo of ${commit.did}`)
  if (!(await verifyCommit(commit, signingKey))) throw new Error('the signature is wrong')
  for (let entries = await driver.nextChunk(1_000); entries; entries = await driver.nextChunk(1_000)) {
    for (const { collection, rkey, data } of entries) {
      if (collection === 'app.bsky.feed.post') console.log(`${rkey}: ${decodeRecord(data).text}`)
    }
  }
} finally {
  await driver.close()
}
