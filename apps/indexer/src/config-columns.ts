// Resolves the columns of one table: types, paths into the record, and a blob as its three parts.
import type { Column, ColumnTypeInput } from './config.ts'
import { asIdentifier, asList, asName, asObject, asString, camelCase, memberPath, refuse } from './config-check.ts'
import { columnTypes } from './config-types.ts'
import { projectionLimits } from './project/limits.ts'

/** Names that every view has already, or that Postgres keeps for itself. */
export const reservedColumns: ReadonlySet<string> = new Set(
  'repo did rkey uri cid collection record sort_at ctid xmin xmax cmin cmax tableoid'.split(' '),
)

/** `input`: the `columns` of a collection, as the user wrote them. */
export function resolveColumns(input: unknown, path: string): Column[] {
  const columns: Column[] = []
  for (const [name, value] of Object.entries(asObject(input, path))) {
    columns.push(...resolveColumn(name, value, memberPath(path, name)))
  }
  const names = new Set<string>()
  for (const { name } of columns) {
    if (names.has(name)) refuse(memberPath(path, name), `two columns would be named '${name}' (a blob makes three)`)
    names.add(name)
  }
  if (columns.length > maxColumns) refuse(path, `${columns.length} columns are more than ${maxColumns}`)
  return columns
}

/** The whole record as jsonb. */
export function recordColumn(): Column {
  return { name: 'record', type: 'jsonb', paths: [[]], part: undefined, maxBytes: projectionLimits.maxTextBytes }
}

const maxColumns = 200
const typeNames: readonly ColumnTypeInput[] = [...columnTypes, 'blob']

function resolveColumn(name: string, value: unknown, path: string): Column[] {
  const input = typeof value === 'string' ? { type: value } : asObject(value, path, ['type', 'path', 'paths'])
  const type = asName(input.type, memberPath(path, 'type'), typeNames)
  const paths = resolvePaths(name, input, path)
  const { maxTextBytes: maxBytes } = projectionLimits
  if (type !== 'blob') {
    asIdentifier(name, path, reservedColumns)
    return [{ name, type, paths, part: undefined, maxBytes }]
  }
  const part = (partName: NonNullable<Column['part']>, partType: Column['type']): Column => ({
    name: asIdentifier(`${name}_${partName}`, path, reservedColumns),
    type: partType,
    paths,
    part: partName,
    maxBytes,
  })
  return [part('cid', 'cid'), part('mime', 'text'), part('size', 'int8')]
}

function resolvePaths(name: string, input: Readonly<Record<string, unknown>>, at: string): string[][] {
  if (input.path !== undefined && input.paths !== undefined) refuse(at, `has both 'path' and 'paths'`)
  if (input.path !== undefined) return [resolvePath(input.path, memberPath(at, 'path'))]
  if (input.paths === undefined) return [[camelCase(name)]]
  const paths = asList(input.paths, memberPath(at, 'paths'))
  if (paths.length === 0) refuse(memberPath(at, 'paths'), 'must not be empty')
  return paths.map((path, i) => resolvePath(path, `${memberPath(at, 'paths')}[${i}]`))
}

function resolvePath(value: unknown, at: string): string[] {
  const keys = typeof value === 'string' ? value.split('.') : asList(value, at).map((key) => asString(key, at))
  if (keys.length === 0 || keys.includes('')) refuse(at, 'must be keys with dots between them, or a list of keys')
  if (keys.length > projectionLimits.maxDepth) refuse(at, 'is deeper than any record')
  return keys
}
