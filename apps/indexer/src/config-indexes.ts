// Resolves the secondary indexes of one table, and from them how long the text in its columns may be.
import type { Column, TableIndex } from './config.ts'
import { asList, asName, asObject, memberPath, refuse } from './config-check.ts'
import type { ColumnType } from './config-types.ts'
import { projectionLimits } from './project/limits.ts'
import { fitName } from './schema-sql.ts'

/** `input`: the `indexes` of a collection. The names of indexes follow from table and columns. */
export function resolveIndexes(
  input: unknown,
  at: string,
  table: { rowsName: string; columns: readonly Column[] },
): TableIndex[] {
  const names = [...table.columns.map((column) => column.name), 'cid', 'rkey']
  const indexes = asList(input, at).map((value, i): TableIndex => {
    const path = `${at}[${i}]`
    const object = isIndexObject(value) ? asObject(value, path, ['columns', 'using']) : { columns: value }
    const columns = typeof object.columns === 'string' ? [object.columns] : asList(object.columns, path)
    if (columns.length === 0 || columns.length > 8) refuse(path, 'must have 1 to 8 columns')
    const known = columns.map((column) => asName(column, path, names))
    const lists = known.filter((name) => needsGin(typeOf(table.columns, name)))
    if (lists.length > 0 && lists.length < known.length)
      refuse(path, `${lists.join(', ')}: lists and jsonb take an index of their own`)
    const usual = lists.length > 0 ? 'gin' : 'btree'
    const using = object.using === undefined ? usual : asName(object.using, memberPath(path, 'using'), methods)
    if (using === 'hash' && known.length > 1) refuse(path, 'a hash index has one column')
    if ((using === 'gin') !== (usual === 'gin')) refuse(path, `lists and jsonb take a gin index, other types none`)
    const name = fitName(`${table.rowsName}_${known.join('_')}_${using === 'hash' ? 'hash' : 'idx'}`)
    return { name, columns: known, using }
  })
  const seen = new Set<string>()
  for (const [i, { name }] of indexes.entries()) {
    if (seen.has(name)) refuse(`${at}[${i}]`, 'there is already such an index')
    seen.add(name)
  }
  return indexes
}

/** Text that an index entry could not hold is not stored (`TextTooLongForIndex`): the load must not fail when indexes are built. */
export function limitIndexedColumns(columns: readonly Column[], indexes: readonly TableIndex[]): Column[] {
  return columns.map((column) => {
    const shares = indexes
      .filter((index) => index.using !== 'hash' && index.columns.includes(column.name))
      .map((index) => index.columns.filter((name) => !fixedWidth.has(typeOf(columns, name))).length)
    const share = Math.max(0, ...shares)
    if (share === 0 || fixedWidth.has(column.type)) return column
    return { ...column, maxBytes: Math.floor(projectionLimits.maxIndexedBytes / share) }
  })
}

const methods = ['btree', 'hash', 'gin'] as const
const fixedWidth: ReadonlySet<ColumnType | undefined> = new Set<ColumnType>(['int8', 'bool', 'timestamptz', 'cid'])

function isIndexObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function typeOf(columns: readonly Column[], name: string): ColumnType | undefined {
  return columns.find((column) => column.name === name)?.type
}

function needsGin(type: ColumnType | undefined): boolean {
  return type === 'jsonb' || type?.endsWith('[]') === true
}
