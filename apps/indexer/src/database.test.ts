import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { checkServer, openDatabase } from './database.ts'

/** Of the connections to a local port, the timers that the kernel runs; 02 is the one that asks whether the peer is there. */
async function timersTo(port: number): Promise<string[]> {
  const lines = (await readFile('/proc/net/tcp', 'utf8')).split('\n').map((line) => line.trim().split(/\s+/))
  const remote = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`
  return lines.filter((fields) => fields[2] === remote).map((fields) => fields[5]?.slice(0, 2) ?? '')
}

test('a database server that vanishes without a word is asked whether it is there', async () => {
  const sockets: Socket[] = []
  const server = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0
  const opening = openDatabase({ url: `postgres://me@127.0.0.1:${port}/any`, waitMs: 0 })
  const refused = expect(opening).rejects.toMatchObject({ code: 'DatabaseUnavailable' })
  await once(server, 'connection')
  expect(await timersTo(port)).toEqual(['02'])
  for (const socket of sockets) socket.destroy()
  await refused
  server.close()
})

test('a server that is too old is told so before anything is asked of it', () => {
  const server = (version: string, versionNumber: number) => () =>
    checkServer({ encoding: 'UTF8', version, versionNumber })
  expect(server('14.0', 140_000)).not.toThrow()
  expect(server('18.4', 180_004)).not.toThrow()
  expect(server('13.23', 130_023)).toThrow('the server is PostgreSQL 13.23: the indexer needs 14 or newer')
  expect(server('9.6.24', 90_624)).toThrow(expect.objectContaining({ code: 'BadUsage' }))
})
