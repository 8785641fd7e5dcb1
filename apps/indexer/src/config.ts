// What is indexed: which collections go to which tables, with which columns. `loadConfig` turns what the user wrote (or the
// default) into plain data that travels to worker threads; `defineConfig` gives editors the types.
import { readConfigFile } from './config-file.ts'
import { resolveConfig } from './config-resolve.ts'
import type { ColumnType } from './config-types.ts'
import { defaultCollections } from './default-config.ts'

export type { ColumnType } from './config-types.ts'
export { defaultCollections } from './default-config.ts'

/** A column of a resolved table, in the order of the COPY. */
export interface Column {
  readonly name: string
  readonly type: ColumnType
  /** Where the value is in the record: the first path that leads to something other than null. `[]` is the whole record. */
  readonly paths: readonly (readonly string[])[]
  /** Which part of a blob this is; the paths lead to the blob. */
  readonly part: 'cid' | 'mime' | 'size' | undefined
  /** Longer text is not stored: what an index entry or a value may hold. */
  readonly maxBytes: number
}

export interface TableIndex {
  readonly name: string
  readonly columns: readonly string[]
  readonly using: 'btree' | 'hash' | 'gin'
}

export interface Table {
  readonly index: number
  /** The view's name. */
  readonly name: string
  /** The name of the table below the view, where rows are stored. */
  readonly rowsName: string
  /** NSIDs; for the generic table patterns: an NSID, 'app.foo.*' or '*'. */
  readonly collections: readonly string[]
  readonly generic: boolean
  readonly columns: readonly Column[]
  readonly indexes: readonly TableIndex[]
  readonly keepJson: boolean
  /** Changes when the same record could give another row. */
  readonly version: number
}

export interface Config {
  readonly tables: readonly Table[]
  /** Changes when any table's version or the choice of collections does. Fits int4. */
  readonly version: number
}

/** A column as a user writes it: a type alone takes the path from the column's name (`created_at` reads `createdAt`). */
export type ColumnInput =
  | ColumnTypeInput
  | { readonly type: ColumnTypeInput; readonly path?: PathInput; readonly paths?: readonly PathInput[] }
export type ColumnTypeInput = ColumnType | 'blob'
/** `'subject.uri'`, or a list where a key has a dot in it. */
export type PathInput = string | readonly string[]
export type IndexInput =
  | string
  | readonly string[]
  | { readonly columns: readonly string[]; readonly using?: TableIndex['using'] }

export interface CollectionInput {
  /** Default: the last part of the NSID. */
  readonly table?: string
  readonly columns?: Readonly<Record<string, ColumnInput>>
  readonly indexes?: readonly IndexInput[]
  /** Keep the whole record as jsonb in a column `record`. */
  readonly json?: boolean
}

/** By NSID. `'json'` sends a collection, or all that match a pattern ('app.foo.*', '*'), whole to the generic table. */
export type CollectionsInput = Readonly<Record<string, CollectionInput | 'json'>>

/** A wish for tables derived from lexicons; see `fromLexicons`. */
export interface LexiconsInput {
  readonly lexicons: readonly string[]
}

export interface ConfigInput {
  readonly collections: CollectionsInput | LexiconsInput | readonly (CollectionsInput | LexiconsInput)[]
}

/** For `indexer.config.ts`: `export default defineConfig({ collections: { ... } })`. */
export function defineConfig(config: ConfigInput): ConfigInput {
  return config
}

/** Typed tables from lexicon documents: patterns of those that @atproto/api carries, or paths of files and folders with more. */
export function fromLexicons(lexicons: readonly string[]): LexiconsInput {
  return { lexicons }
}

export interface LoadConfigOptions {
  /** A file whose default export is a `ConfigInput`. Without one, the default collections. */
  path?: string | undefined
  /** More collections or patterns for the generic table: those that no typed table takes. */
  collections?: readonly string[] | undefined
}

/** Throws `BadConfig` with the path of the first mistake. */
export async function loadConfig(options: LoadConfigOptions = {}): Promise<Config> {
  const input: unknown =
    options.path === undefined ? { collections: defaultCollections } : await readConfigFile(options.path)
  return resolveConfig(input, options)
}
