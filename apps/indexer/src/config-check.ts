// The small checks that config resolution is made of. Each mistake is told by where it stands: `collections['a.b.c'].columns.x`.
import { IndexerError } from './errors.ts'
import { suggestName } from './nearest-name.ts'

/** Throws `BadConfig`. `path` says where in the config, `what` what is wrong and what would be right. */
export function refuse(path: string, what: string): never {
  throw new IndexerError('BadConfig', `${path === '' ? 'config' : path}: ${what}`, { details: { path } })
}

/** An object whose keys are all in `keys`, when those are given. */
export function asObject(value: unknown, path: string, keys?: readonly string[]): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(path, 'must be an object')
  const entries = Object.entries(value)
  for (const [key] of entries) {
    if (keys !== undefined && !keys.includes(key)) {
      refuse(path, `there is no '${key}' here${suggestName(key, keys)}`)
    }
  }
  return Object.fromEntries(entries)
}

export function asString(value: unknown, path: string): string {
  if (typeof value !== 'string' || value === '') refuse(path, 'must be text')
  return value
}

export function asList(value: unknown, path: string): readonly unknown[] {
  if (!Array.isArray(value)) refuse(path, 'must be a list')
  return value
}

/** One of `names`. */
export function asName<Name extends string>(value: unknown, path: string, names: readonly Name[]): Name {
  const text = asString(value, path)
  const found = names.find((name) => name === text)
  return found ?? refuse(path, `there is no '${text}'${suggestName(text, names)}`)
}

/** A name for a table or column: lower case, so that nobody has to quote it. */
export function asIdentifier(value: unknown, path: string, reserved: ReadonlySet<string>): string {
  const name = asString(value, path)
  if (!identifier.test(name)) {
    refuse(path, `'${name}' must start with a letter and have at most 50 of a-z, 0-9 and _${suggestSnake(name)}`)
  }
  if (reserved.has(name)) refuse(path, `'${name}' is taken; choose another name`)
  return name
}

/** `createdAt` -> `created_at`. Anything that no name may have becomes an underscore. */
export function snakeCase(name: string): string {
  return name
    .replaceAll(/([a-z0-9])([A-Z])/g, '$1_$2')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '_')
    .replace(/^[_0-9]+/, '')
    .replace(/_$/, '')
}

/** `created_at` -> `createdAt`. */
export function camelCase(name: string): string {
  return name.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())
}

/** Points at the path of a member. */
export function memberPath(path: string, key: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(key) ? (path === '' ? key : `${path}.${key}`) : `${path}['${key}']`
}

const identifier = /^[a-z][a-z0-9_]{0,49}$/

function suggestSnake(name: string): string {
  const snake = snakeCase(name).slice(0, 50)
  return identifier.test(snake) ? `; '${snake}' would do` : ''
}
