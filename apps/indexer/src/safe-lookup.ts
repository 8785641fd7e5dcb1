// Looks names up without blocking a thread. In: a name. Out: its addresses, as net.connect wants them. The system's lookup
// (getaddrinfo) holds one of libuv's four threads for as long as a dead name server takes, and the same four decompress
// every body: a few hundred dead hosts would stop the crawl. So DNS is asked directly; only names that DNS is not asked for
// (without a dot, in /etc/hosts) and machines without a DNS server go the system's way.
import { type LookupAddress, Resolver, lookup as systemLookup } from 'node:dns'
import { readFileSync } from 'node:fs'
import type { LookupFunction } from 'node:net'

export interface LookupOptions {
  /** In place of those of /etc/resolv.conf, `address:port`. */
  servers?: string[]
  /** For one question to one server; with the second try, a dead one costs three times as much. */
  timeoutMs?: number
  hostsFile?: string
}

export function createLookup(options: LookupOptions = {}): LookupFunction {
  const { servers, timeoutMs = 2000, hostsFile = '/etc/hosts' } = options
  const resolver = new Resolver({ timeout: timeoutMs, tries: 2 })
  if (servers) resolver.setServers(servers)
  const pinned = namesOf(hostsFile)
  return (hostname, lookupOptions, callback) => {
    if (!hostname.includes('.') || pinned.has(hostname.toLowerCase())) {
      systemLookup(hostname, lookupOptions, callback)
      return
    }
    askBoth(resolver, hostname, (error, addresses) => {
      const family = Number(lookupOptions.family ?? 0)
      const wanted = family === 4 || family === 6 ? addresses.filter((one) => one.family === family) : addresses
      const first = wanted[0]
      if (first && lookupOptions.all) callback(null, wanted)
      else if (first) callback(null, first.address, first.family)
      else if (error && error.code !== 'ECONNREFUSED') callback(error, '')
      else systemLookup(hostname, lookupOptions, callback) // no server to ask
    })
  }
}

type Answer = (error: NodeJS.ErrnoException | undefined, addresses: LookupAddress[]) => void

/** IPv4 and IPv6 at once; net.connect tries them in turn. An error only when neither has an address. */
function askBoth(resolver: Resolver, hostname: string, answer: Answer): void {
  const found: Record<4 | 6, LookupAddress[]> = { 4: [], 6: [] }
  let error: NodeJS.ErrnoException | undefined
  let open = 2
  const arrive = (family: 4 | 6) => (failure: NodeJS.ErrnoException | null, addresses: string[] | undefined) => {
    found[family] = (addresses ?? []).slice(0, maxAddresses).map((address) => ({ address, family }))
    // That one family has no records says less than why the other could not be asked.
    if (failure && (!error || error.code === 'ENODATA')) error = failure
    if (--open === 0) answer(error, [...found[4], ...found[6]])
  }
  resolver.resolve4(hostname, arrive(4))
  resolver.resolve6(hostname, arrive(6))
}

/** More are not tried. */
const maxAddresses = 8

/** Names that the machine's owner pinned; read once. */
function namesOf(file: string): Set<string> {
  const names = new Set<string>()
  try {
    for (const line of readFileSync(file, 'utf8').split('\n')) {
      const [, ...words] = line.replace(/#.*/, '').trim().split(/\s+/)
      for (const name of words) names.add(name.toLowerCase())
    }
  } catch {
    // A machine without the file pins nothing.
  }
  return names
}
