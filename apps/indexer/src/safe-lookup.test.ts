import { writeFile } from 'node:fs/promises'
import type { LookupFunction } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { openTestHttp, readAll, startTestServer } from './http-test-server.ts'
import { createLookup } from './safe-lookup.ts'
import { startDns } from './testing-dns.ts'

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
