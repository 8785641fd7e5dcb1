// Derives typed collections from lexicon documents: those that @atproto/api carries, by pattern, and the user's own files.
// Output is what a user could have written by hand. @atproto/api is imported only when it is needed: it takes 0.4 s.
import { glob, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { CollectionInput, CollectionsInput, ColumnInput } from './config.ts'
import { asObject, asString, refuse, snakeCase } from './config-check.ts'
import { reservedColumns } from './config-columns.ts'
import { reasonOf } from './errors.ts'
import { suggestName } from './nearest-name.ts'
import { isNsid, matchesPattern } from './project/tables.ts'

type Def = Readonly<Record<string, unknown>>

/** `lexicons`: patterns ('app.bsky.*', an NSID) or paths of files and folders. Only record types become collections. */
export async function collectionsFromLexicons(lexicons: readonly string[], at: string): Promise<CollectionsInput> {
  const library = new Library(at)
  const wanted: string[] = []
  for (const lexicon of lexicons) {
    const ids = looksLikePath(lexicon) ? await library.readFiles(lexicon) : await library.match(lexicon)
    wanted.push(...ids)
  }
  const collections: [string, CollectionInput][] = []
  for (const id of new Set(wanted)) {
    const main = await library.find(`${id}#main`)
    if (main?.type === 'record') collections.push([id, await deriveCollection(library, id, main)])
  }
  if (collections.length === 0) refuse(at, `${lexicons.join(', ')} has no record type`)
  return Object.fromEntries(collections)
}

const maxFiles = 5_000
const maxFileBytes = 4_194_304
const maxRefs = 16
const maxDerivedIndexes = 4

function looksLikePath(lexicon: string): boolean {
  return lexicon.includes('/') || lexicon.endsWith('.json')
}

/** Lexicon documents by id. The user's own come first. */
class Library {
  readonly #at: string
  readonly #documents = new Map<string, Def>()
  #hasOfficial = false

  constructor(at: string) {
    this.#at = at
  }

  async readFiles(path: string): Promise<string[]> {
    const info = await stat(path).catch(() => refuse(this.#at, `there is no file or folder '${path}'`))
    const files: string[] = []
    if (info.isDirectory()) {
      for await (const file of glob('**/*.json', { cwd: path })) files.push(join(path, file))
    } else {
      files.push(path)
    }
    if (files.length === 0 || files.length > maxFiles)
      refuse(this.#at, `'${path}' has ${files.length} JSON files; 1 to ${maxFiles} will do`)
    const ids = await Promise.all(files.sort().map((file) => this.#readFile(file)))
    return ids
  }

  async #readFile(file: string): Promise<string> {
    const text = await readFile(file, 'utf8')
    if (text.length > maxFileBytes) refuse(this.#at, `'${file}' is too big to be a lexicon`)
    let document: unknown
    try {
      document = JSON.parse(text)
    } catch (error) {
      refuse(this.#at, `'${file}' is not JSON: ${reasonOf(error)}`)
    }
    return this.#add(document, file)
  }

  #add(document: unknown, name: string): string {
    const object = asObject(document, name)
    const id = asString(object.id, `${name}: id`)
    if (!isNsid(id)) refuse(`${name}: id`, `'${id}' is no NSID`)
    asObject(object.defs, `${name}: defs`)
    if (!this.#documents.has(id)) this.#documents.set(id, object)
    return id
  }

  async match(pattern: string): Promise<string[]> {
    await this.#addOfficial()
    const ids = [...this.#documents.keys()]
    const found = ids.filter((id) => matchesPattern(id, pattern))
    if (found.length > 0) return found
    const names = pattern.endsWith('*') ? [...new Set(ids.flatMap(patternsOf))] : ids
    refuse(this.#at, `no lexicon is named '${pattern}'${suggestName(pattern, names)}`)
  }

  async #addOfficial(): Promise<void> {
    if (this.#hasOfficial) return
    this.#hasOfficial = true
    const { schemas } = await import('@atproto/api')
    for (const schema of schemas) this.#add(schema, schema.id)
  }

  /** `ref`: 'nsid#name' or 'nsid'. Undefined for one that nobody knows. */
  async find(ref: string): Promise<Def | undefined> {
    const [id = '', name = 'main'] = ref.split('#')
    if (!this.#documents.has(id)) await this.#addOfficial()
    const defs = this.#documents.get(id)?.defs
    const def = isObject(defs) ? defs[name] : undefined
    return isObject(def) ? def : undefined
  }

  /** Follows references until something else; what cannot be found is an unknown value. */
  async resolve(id: string, def: Def): Promise<{ id: string; def: Def; ref: string | undefined }> {
    let current = { id, def, ref: undefined as string | undefined }
    for (let i = 0; i < maxRefs && current.def.type === 'ref'; i++) {
      const ref = absoluteRef(current.id, asString(current.def.ref, `${id}: ref`))
      const next = await this.find(ref)
      current = { id: ref.split('#')[0] ?? '', def: next ?? { type: 'unknown' }, ref }
    }
    return current
  }
}

function absoluteRef(id: string, ref: string): string {
  const plain = ref.replace(/^lex:/, '')
  return plain.startsWith('#') ? id + plain : plain
}

function isObject(value: unknown): value is Def {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

async function deriveCollection(library: Library, id: string, main: Def): Promise<CollectionInput> {
  const record = isObject(main.record) ? main.record : {}
  const properties = isObject(record.properties) ? record.properties : {}
  const columns = new Map<string, ColumnInput>()
  const taken = new Set<string>()
  for (const [key, value] of Object.entries(properties)) {
    if (!isObject(value)) continue
    for (const [suffix, type, path] of await deriveColumns(library, id, value)) {
      const name = freeName(snakeCase(key).slice(0, maxKeyLength) + suffix, type, taken)
      columns.set(name, { type, paths: [[key, ...path]] })
    }
  }
  const indexes = [...columns]
    .filter(([, column]) => typeof column === 'object' && (column.type === 'did' || column.type === 'at-uri'))
    .map(([name]) => name)
  return { columns: Object.fromEntries(columns), indexes: indexes.slice(0, maxDerivedIndexes) }
}

type DerivedType = Exclude<ColumnInput, object>

/** Suffix of the column's name, type, and path inside the property. */
async function deriveColumns(library: Library, id: string, property: Def): Promise<[string, DerivedType, string[]][]> {
  const { id: home, def, ref } = await library.resolve(id, property)
  if (ref === 'com.atproto.repo.strongRef' || ref === 'com.atproto.repo.strongRef#main') {
    return [
      ['_uri', 'at-uri', ['uri']],
      ['_cid', 'cid', ['cid']],
    ]
  }
  if (def.type === 'array' && isObject(def.items)) {
    const items = await library.resolve(home, def.items)
    return [['', arrayTypes[scalarType(items.def) ?? ''] ?? 'jsonb', []]]
  }
  return [['', def.type === 'blob' ? 'blob' : (scalarType(def) ?? 'jsonb'), []]]
}

const formatTypes: Readonly<Record<string, DerivedType>> = {
  datetime: 'timestamptz',
  'at-uri': 'at-uri',
  did: 'did',
  cid: 'cid',
}

const arrayTypes: Readonly<Record<string, DerivedType>> = {
  text: 'text[]',
  'at-uri': 'text[]',
  did: 'text[]',
  timestamptz: 'timestamptz[]',
  cid: 'cid[]',
  int8: 'int8[]',
  bool: 'bool[]',
  bytea: 'bytea[]',
}

/** The column type of a lexicon type that holds one plain value. */
function scalarType(def: Def): DerivedType | undefined {
  switch (def.type) {
    case 'string':
      return typeof def.format === 'string' ? (formatTypes[def.format] ?? 'text') : 'text'
    case 'token':
      return 'text'
    case 'integer':
      return 'int8'
    case 'boolean':
      return 'bool'
    case 'bytes':
      return 'bytea'
    case 'cid-link':
      return 'cid'
    default:
      return undefined
  }
}

/** A name has 50 characters at most: this leaves room for what is put behind it. */
const maxKeyLength = 38

/** `did` would hide the account's; `record_did` is the one inside the record. A blob becomes three columns. */
function freeName(name: string, type: DerivedType, taken: Set<string>): string {
  const base = name === '' || reservedColumns.has(name) ? `record_${name}` : name
  for (let i = 1; ; i++) {
    const candidate = i === 1 ? base : `${base}_${i}`
    const names = [candidate, ...(type === 'blob' ? ['cid', 'mime', 'size'].map((part) => `${candidate}_${part}`) : [])]
    if (names.some((one) => taken.has(one))) continue
    for (const one of names) taken.add(one)
    return candidate
  }
}

/** The patterns that take an NSID in: 'app.bsky.*', 'app.bsky.feed.*'. */
function patternsOf(id: string): string[] {
  const parts = id.split('.')
  return parts.slice(2).map((_, index) => `${parts.slice(0, index + 2).join('.')}.*`)
}
