// Loads a user's config file: TypeScript without a build step (types are stripped), JavaScript or JSON. The surprise: the
// file may live anywhere and still `import { defineConfig } from 'indexer/config'`; a resolve hook points that at us.
import { existsSync } from 'node:fs'
import { registerHooks } from 'node:module'
import { extname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { IndexerError } from './errors.ts'

/** The default export of the file at `path`. Throws `BadConfig`. */
export async function readConfigFile(path: string): Promise<unknown> {
  const file = resolve(path)
  if (!existsSync(file)) throw new IndexerError('BadConfig', `there is no config file ${file}`, { details: { file } })
  const url = pathToFileURL(file).href
  const attributes = extname(file) === '.json' ? { with: { type: 'json' } } : undefined
  const hooks = registerHooks({
    resolve(specifier, context, next) {
      if (specifier === 'indexer' || specifier === 'indexer/config') {
        return { url: new URL('./config.ts', import.meta.url).href, shortCircuit: true }
      }
      const resolved = next(specifier, context)
      // Without a package.json beside it the file's format would be guessed, with a warning.
      return resolved.url === url && url.endsWith('.ts') ? { ...resolved, format: 'module-typescript' } : resolved
    },
  })
  try {
    const module: unknown = attributes === undefined ? await import(url) : await import(url, attributes)
    if (typeof module === 'object' && module !== null && 'default' in module) return module.default
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new IndexerError('BadConfig', `the config file ${file}${lineIn(file, cause)} does not load: ${reason}`, {
      cause,
      details: { file },
    })
  } finally {
    hooks.deregister()
  }
  throw new IndexerError('BadConfig', `the config file ${file} has no default export`, { details: { file } })
}

/** ':3' where the stack names a line of the file, by its path or its URL: of TypeScript that does not parse, and of code that throws. */
function lineIn(file: string, error: unknown): string {
  const stack = error instanceof Error ? (error.stack ?? '') : ''
  const names = [file, pathToFileURL(file).href]
  return names.flatMap((name) => /^:\d+/.exec(stack.split(name)[1] ?? '') ?? [])[0] ?? ''
}
