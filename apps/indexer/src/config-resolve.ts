// Checks what a user wrote as config and completes it: names, paths, indexes, limits, versions. The first mistake is thrown
// as `BadConfig` with its path in the config and the nearest valid name.
import type { Config, LoadConfigOptions, Table } from './config.ts'
import { asIdentifier, asList, asObject, asString, memberPath, refuse, snakeCase } from './config-check.ts'
import { recordColumn, resolveColumns } from './config-columns.ts'
import { limitIndexedColumns, resolveIndexes } from './config-indexes.ts'
import { isNsid, matchesPattern } from './project/tables.ts'

/** `input`: a `ConfigInput`, unchecked. Reads files only where it asks for lexicons. */
export async function resolveConfig(input: unknown, options: LoadConfigOptions = {}): Promise<Config> {
  const wishes = await collectWishes(asObject(input, '', ['collections']).collections)
  for (const pattern of options.collections ?? []) {
    checkPattern(pattern, '--collections')
    if (!wishes.has(pattern)) wishes.set(pattern, { value: 'json', path: '--collections' })
  }
  const names = new TableNames(wishes)
  const tables: Table[] = []
  const patterns: string[] = []
  for (const [collection, wish] of wishes) {
    if (wish.value === 'json') patterns.push(collection)
    else tables.push(resolveTable({ collection, wish, names, index: tables.length }))
  }
  if (patterns.length > 0) tables.push(genericTable(patterns, tables.length))
  if (tables.length === 0) refuse('collections', 'names no collection')
  if (tables.length > maxTables) refuse('collections', `${tables.length} tables are more than ${maxTables}`)
  return { tables, version: hash(tables.map((table) => [table.name, table.collections, table.version])) }
}

interface Wish {
  value: unknown
  path: string
}

const maxTables = 1_000
/** Raise it when the same record and columns give other bytes than before: rows made earlier are then told apart. */
export const projectorVersion = 3

async function collectWishes(collections: unknown): Promise<Map<string, Wish>> {
  const wishes = new Map<string, Wish>()
  const parts = Array.isArray(collections) ? asList(collections, 'collections') : [collections]
  for (const [i, part] of parts.entries()) {
    const path = Array.isArray(collections) ? `collections[${i}]` : 'collections'
    let object = asObject(part, path)
    if ('lexicons' in object) {
      asObject(part, path, ['lexicons'])
      const lexicons = asList(object.lexicons, path).map((name) => asString(name, path))
      const { collectionsFromLexicons } = await import('./config-lexicons.ts')
      object = await collectionsFromLexicons(lexicons, path)
    }
    for (const [collection, value] of Object.entries(object)) {
      checkPattern(collection, path)
      wishes.set(collection, { value, path: memberPath(path, collection) })
    }
  }
  return wishes
}

function checkPattern(pattern: string, path: string): void {
  const name = pattern.endsWith('.*') ? `${pattern.slice(0, -2)}.any.any` : pattern
  if (pattern !== '*' && !isNsid(name)) refuse(path, `'${pattern}' is no collection: an NSID, 'app.example.*' or '*'`)
}

function resolveTable(given: { collection: string; wish: Wish; names: TableNames; index: number }): Table {
  const { collection, wish, names, index } = given
  const input = asObject(wish.value, wish.path, ['table', 'columns', 'indexes', 'json'])
  if (!isNsid(collection)) refuse(wish.path, `a pattern can only be 'json': its records share no columns`)
  const name = names.take(collection, input.table, memberPath(wish.path, 'table'))
  const rowsName = `${name}_rows`
  if (input.json !== undefined && typeof input.json !== 'boolean')
    refuse(memberPath(wish.path, 'json'), 'must be true or false')
  const keepJson = input.json === true
  const own = resolveColumns(input.columns ?? {}, memberPath(wish.path, 'columns'))
  const all = keepJson ? [...own, recordColumn()] : own
  const indexes = resolveIndexes(input.indexes ?? [], memberPath(wish.path, 'indexes'), { rowsName, columns: all })
  const columns = limitIndexedColumns(all, indexes)
  const collections = [collection]
  const version = hash([projectorVersion, collections, columns])
  return { index, name, rowsName, collections, generic: false, columns, indexes, keepJson, version }
}

function genericTable(patterns: readonly string[], index: number): Table {
  const columns = [recordColumn()]
  return {
    index,
    name: 'records',
    rowsName: 'records_rows',
    collections: patterns.includes('*') ? ['*'] : patterns.filter((one) => !coveredByAnother(one, patterns)),
    generic: true,
    columns,
    indexes: [],
    keepJson: true,
    version: hash([projectorVersion, columns]),
  }
}

function coveredByAnother(pattern: string, patterns: readonly string[]): boolean {
  return patterns.some((other) => other !== pattern && other.endsWith('*') && matchesPattern(pattern, other))
}

/** What the schema holds besides, and names that would be confusing. */
const reservedNames =
  `accounts records rejects oddities repos hosts hidden_repos reject_rows oddity_rows records_rows sources counters processes
  leases host_claims host_leases host_turns identities sightings unlisted collections schema_changes reject oddity record
  kysely_migration kysely_migration_lock`.split(/\s+/)

/** Gives each collection's view a name, and its table that and `_rows`: the wanted one, or the shortest end of the NSID that is free. */
class TableNames {
  readonly #taken = new Set(reservedNames)
  readonly #contested = new Set<string>()

  constructor(wishes: ReadonlyMap<string, Wish>) {
    const seen = new Set<string>()
    for (const collection of wishes.keys()) {
      const name = lastParts(collection, 1)
      if (seen.has(name)) this.#contested.add(name)
      seen.add(name)
    }
  }

  take(collection: string, wanted: unknown, path: string): string {
    const name = wanted === undefined ? this.#shortest(collection) : asIdentifier(wanted, path, this.#taken)
    const rowsName = `${name}_rows`
    if (this.#taken.has(rowsName)) refuse(path, `'${rowsName}', which it needs, is taken; choose another name`)
    this.#taken.add(name).add(rowsName)
    return name
  }

  /** `app.bsky.graph.list` is `list`, or `graph_list` when another collection ends like it, or when it is taken. */
  #shortest(collection: string): string {
    const count = collection.split('.').length
    for (let parts = 1; parts <= count; parts++) {
      const name = lastParts(collection, parts)
      const isFree = name !== '' && !this.#taken.has(name) && !this.#taken.has(`${name}_rows`)
      if (isFree && !this.#contested.has(name)) return name
    }
    return refuse(memberPath('collections', collection), `needs a 'table': its name is taken`)
  }
}

function lastParts(collection: string, count: number): string {
  return snakeCase(collection.split('.').slice(-count).join('_')).slice(0, 50)
}

/** FNV-1a over the JSON of plain data, in 31 bits: it is stored as int4. */
function hash(value: unknown): number {
  let state = 0x811c9dc5
  for (const byte of new TextEncoder().encode(JSON.stringify(value))) state = Math.imul(state ^ byte, 0x01000193)
  return state >>> 1
}
