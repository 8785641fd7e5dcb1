// TCP ports for servers that are told theirs before they listen.
import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'
import { IndexerError } from './errors.ts'

const firstPort = 20_000
const lastPort = 29_999
const maxTries = 100

/**
 * At random, and below the range that systems give to outgoing connections and to whoever asks for any port: one of those would hold it
 * by the time its server starts. Throws `EmbeddedDatabaseFailed`: only tests and benches have other such servers.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < maxTries; tries++) {
    const port = randomInt(firstPort, lastPort + 1)
    if (await isFreePort(port)) return port
  }
  throw new IndexerError('EmbeddedDatabaseFailed', `no free TCP port from ${firstPort} to ${lastPort} on 127.0.0.1`)
}

export async function isFreePort(port: number): Promise<boolean> {
  const listener = createServer()
  return await new Promise((resolve) => {
    listener.once('error', () => resolve(false))
    listener.listen(port, '127.0.0.1', () => listener.close(() => resolve(true)))
  })
}
