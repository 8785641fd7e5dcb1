// Which table a collection goes to: exact names first, then the patterns of the generic table ('app.foo.*', '*').
import type { Entry } from 'repo-stream'
import type { Config, Table } from '../config.ts'
import { projectionLimits } from './limits.ts'

/** Answers from a bounded memory, so that a repo with a million invented collections costs time, not memory. */
export function createTableFinder(config: Config): (collection: string) => Table | undefined {
  const exact = new Map<string, Table>()
  for (const table of config.tables) {
    if (!table.generic) for (const collection of table.collections) exact.set(collection, table)
  }
  const generic = config.tables.find((table) => table.generic)
  const remembered = new Map<string, Table | undefined>()
  const find = (collection: string): Table | undefined => {
    const table = exact.get(collection)
    if (table !== undefined || generic === undefined) return table
    if (remembered.has(collection)) return remembered.get(collection)
    if (remembered.size >= maxRememberedCollections) remembered.clear()
    const found = generic.collections.some((pattern) => matchesPattern(collection, pattern)) ? generic : undefined
    remembered.set(collection, found)
    return found
  }
  let last = ''
  let lastTable: Table | undefined
  return (collection) => {
    if (collection === last) return lastTable // of most records, the one before
    lastTable = find(collection)
    last = collection
    return lastTable
  }
}

/** `pattern`: an NSID, an NSID's beginning with '.*', or '*'. */
export function matchesPattern(collection: string, pattern: string): boolean {
  if (pattern === '*') return true
  return pattern.endsWith('.*') ? collection.startsWith(pattern.slice(0, -1)) : collection === pattern
}

/** The NSID syntax, as far as a table has to care: what it lets in can be a name in a column and in an AT-URI. */
export function isNsid(text: string): boolean {
  return text.length <= maxNsidLength && nsid.test(text)
}

/** Characters that the record key and NSID syntaxes allow, and a length that Postgres can index. */
export function isUsableKey({ collection, keyBytes, rkeyFrom, rkeyTo }: Entry, table: Table): boolean {
  if (collection.length + rkeyTo - rkeyFrom > projectionLimits.maxKeyBytes || rkeyFrom === rkeyTo) return false
  for (let i = rkeyFrom; i < rkeyTo; i++) {
    const code = keyBytes[i] ?? 0
    if (code < 0x21 || code > 0x7e) return false
  }
  return !table.generic || isNsid(collection)
}

/** By specification. */
export const maxNsidLength = 317
const maxRememberedCollections = 4_096
const nsid = /^[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+$/
