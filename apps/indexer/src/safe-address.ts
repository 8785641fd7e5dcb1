// Refuses addresses that lead into the operator's own network (SSRF): hosts and redirects are named by strangers.
// In: a literal host, or a DNS lookup to guard. Out: nothing, or an `AddressRefused`. The lookup that is checked is the
// one whose answer is connected to, so a name that changes its address between check and use gains nothing.
import type { LookupAddress } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'
import { IndexerError } from './errors.ts'

/** Only global unicast is asked: not loopback, private, link-local, shared, multicast, documentation or reserved ranges. */
export function isPublicAddress(address: string): boolean {
  if (!ipaddr.isValid(address)) return false
  const parsed = ipaddr.process(address) // an IPv4-mapped IPv6 address becomes the IPv4 address that it reaches
  if (!(parsed instanceof ipaddr.IPv6)) return parsed.range() === 'unicast'
  if (parsed.range() === 'unicast') return parsed.match(globalUnicast) // what is not assigned counts as unicast too
  if (!parsed.match(nat64)) return false
  return isPublicAddress(parsed.toByteArray().slice(12).join('.')) // how an IPv6-only machine reaches an IPv4 host
}

/** Throws `AddressRefused` for a URL host that needs no DNS to be known as private: a literal address or a localhost name. */
export function refusePrivateName(hostname: string): void {
  const name = hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
  if (isIP(name) !== 0 ? !isPublicAddress(name) : isLocalName(name)) throw refused(hostname, name)
}

/** True for names and addresses of this machine; they never go through a proxy. */
export function isLoopbackName(hostname: string): boolean {
  const name = hostname.replace(/^\[|\]$/g, '').replace(/\.$/, '')
  const version = isIP(name)
  if (version === 4) return name.startsWith('127.') // asked for each request
  return version === 6 ? ipaddr.process(name).range() === 'loopback' : isLocalName(name)
}

/** A DNS lookup for net.connect that leaves out private addresses and fails with `AddressRefused` when no other is left. */
export function publicLookup(lookup: LookupFunction): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      if (error) return callback(error, '')
      const addresses: LookupAddress[] = typeof found === 'string' ? [{ address: found, family: isIP(found) }] : found
      const open = addresses.filter(({ address }) => isPublicAddress(address))
      const first = open[0]
      if (!first) return callback(refused(hostname, addresses.map(({ address }) => address).join(' ')), '')
      if (options.all) callback(null, open)
      else callback(null, first.address, first.family)
    })
  }
}

const globalUnicast = ipaddr.IPv6.parseCIDR('2000::/3')
const nat64 = ipaddr.IPv6.parseCIDR('64:ff9b::/96')

function isLocalName(name: string): boolean {
  return /(^|\.)localhost$/i.test(name)
}

function refused(hostname: string, address: string): IndexerError {
  return new IndexerError(
    'AddressRefused',
    `${hostname} is the private address ${address}; --allow-private-hosts permits it`,
    {
      details: { hostname, address },
    },
  )
}
