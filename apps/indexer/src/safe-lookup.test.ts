import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import type { LookupFunction } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openTestHttp, readAll, startTestServer } from './http-test-server.ts'
import { createLookup } from './safe-lookup.ts'

const typeA = 1
const typeAaaa = 28
const nameError = 3

/** A DNS server: its records by name; `undefined` for a name that does not exist, `silent` for no answer at all. */
async function startDns(records: Record<string, string[] | 'silent'>) {
  const socket = createSocket('udp4')
  let asked = 0
  socket.on('message', (query, from) => {
    asked++
    const end = query.indexOf(0, 12)
    const labels: string[] = []
    for (let at = 12; at < end; at += 1 + (query[at] ?? 0)) {
      labels.push(query.toString('latin1', at + 1, at + 1 + (query[at] ?? 0)))
    }
    const question = query.subarray(12, end + 5)
    const type = query.readUInt16BE(end + 1)
    const record = records[labels.join('.')]
    if (record === 'silent') return
    const addresses = (record ?? []).filter((one) => one.includes(':') === (type === typeAaaa))
    const answers = addresses.map((one) => {
      const data = type === typeA ? Buffer.from(one.split('.').map(Number)) : Buffer.from(`${'00'.repeat(15)}01`, 'hex')
      const head = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, 60, 0, data.length])
      return Buffer.concat([head, data])
    })
    const header = Buffer.from([0, 0, 0x81, 0x80 + (record ? 0 : nameError), 0, 1, 0, answers.length, 0, 0, 0, 0])
    header.set(query.subarray(0, 2))
    socket.send(Buffer.concat([header, question, ...answers]), from.port, from.address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return {
    servers: [`127.0.0.1:${socket.address().port}`],
    asked: () => asked,
    [Symbol.asyncDispose]: async () => {
      await new Promise<void>((resolve) => socket.close(() => resolve()))
    },
  }
}

function look(lookup: LookupFunction, name: string, options: object = { all: true }): Promise<unknown> {
  return new Promise((resolve, reject) =>
    lookup(name, options, (error, found) => (error ? reject(error) : resolve(found))),
  )
}

describe('createLookup', () => {
  it('gives all addresses, of both families or of the one that is wanted', async () => {
    await using dns = await startDns({ 'pds.example': ['1.1.1.1', '2.2.2.2', '::1'], 'six.example': ['::1'] })
    const lookup = createLookup({ servers: dns.servers })
    expect(await look(lookup, 'pds.example')).toEqual([
      { address: '1.1.1.1', family: 4 },
      { address: '2.2.2.2', family: 4 },
      { address: '::1', family: 6 },
    ])
    expect(await look(lookup, 'pds.example', { family: 6, all: true })).toEqual([{ address: '::1', family: 6 }])
    expect(await look(lookup, 'six.example', {})).toBe('::1')
  })

  it('says that a name does not exist, or has no address', async () => {
    await using dns = await startDns({ 'empty.example': [] })
    const lookup = createLookup({ servers: dns.servers })
    await expect(look(lookup, 'nowhere.example')).rejects.toMatchObject({ code: 'ENOTFOUND' })
    await expect(look(lookup, 'empty.example')).rejects.toMatchObject({ code: 'ENODATA' })
  })

  it('gives up a server that is silent, and meanwhile dozens of such names hold nobody up', async () => {
    await using dns = await startDns({ 'dead.example': 'silent', 'pds.example': ['127.0.0.1'] })
    await using server = await startTestServer((_request, response) => void response.end('ok'))
    const lookup = createLookup({ servers: dns.servers, timeoutMs: 700 })
    await using http = openTestHttp({ lookup, limits: { connectTimeoutMs: 20_000 } })
    let givenUp = 0
    const dead = Array.from({ length: 60 }, () =>
      http.get('http://dead.example').catch((error: unknown) => {
        givenUp++
        return error
      }),
    )
    expect((await readAll(await http.get(`http://pds.example:${server.port}`))).toString()).toBe('ok')
    expect(givenUp).toBe(0)
    for (const error of await Promise.all(dead)) {
      expect(error).toMatchObject({ code: 'DnsFailed' })
    }
  })

  it('leaves names without a dot, and those of the hosts file, to the system', async () => {
    await using dns = await startDns({})
    const hostsFile = join(tmpdir(), `hosts-${process.pid}`)
    await writeFile(hostsFile, '127.0.0.1 localhost LocalHost.LocalDomain # local.example\n')
    const lookup = createLookup({ servers: dns.servers, hostsFile })
    expect(await look(lookup, 'localhost', { family: 4 })).toBe('127.0.0.1')
    await look(lookup, 'localhost.localdomain').catch(() => undefined)
    expect(dns.asked()).toBe(0)
    await expect(look(lookup, 'local.example')).rejects.toMatchObject({ code: 'ENOTFOUND' })
    expect(dns.asked()).toBe(2)
  })
})
