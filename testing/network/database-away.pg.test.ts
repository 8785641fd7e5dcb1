// A database that goes away in mid-run, as an operator sees it.
import { createServer } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { openTestDatabase } from 'indexer/src/testing-database.ts'
import { expect, test } from 'vitest'
import { startDatabaseProxy } from './database-proxy.ts'
import { startIndexer } from './run-indexer.ts'

test('a database that goes away is told of, waited for, and not for long once the run is to end', async () => {
  await using database = await openTestDatabase()
  await using proxy = await startDatabaseProxy(database.url)
  await using relay = await silentRelay()
  const run = startIndexer([
    ...['run', '--relay', relay.url, '--allow-private-hosts', '--database', proxy.url],
    ...['--dead-after', '2', '--data-dir', 'unused'],
  ])
  await relay.asked
  proxy.cut()
  await sleep(2_000)
  await proxy.mend()
  await sleep(3_000)
  proxy.cut()
  await sleep(1_500)
  process.kill(run.pid, 'SIGTERM')
  const stoppedAtMs = performance.now()
  const { exitCode, stderr } = await run.ended
  expect(performance.now() - stoppedAtMs).toBeLessThan(30_000)
  expect(exitCode, stderr).toBe(75)
  const told = stderr.match(/the database is (away|back)|stopping in order|DatabaseUnavailable|^ +at .*/gm)
  expect(told).toEqual([
    'the database is away',
    'the database is back',
    'the database is away',
    'stopping in order',
    'DatabaseUnavailable',
  ])
})

/** Takes requests and answers none, so that the run goes on. */
async function silentRelay(): Promise<{ url: string; asked: Promise<void> } & AsyncDisposable> {
  const { promise: asked, resolve } = Promise.withResolvers<void>()
  const server = createServer(() => resolve()).listen(0, '127.0.0.1')
  await new Promise((listening) => server.once('listening', listening))
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  return {
    url: `http://127.0.0.1:${port}`,
    asked,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
    },
  }
}
