// The pages that repeat what the code says: each block between `<!-- name -->` and `<!-- /name -->` must be what the code
// gives. `DOCS=write npx vitest run apps/indexer/src/docs.test.ts` writes them.
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { RepoStreamError, type RepoStreamErrorCode } from 'repo-stream'
import { expect, test } from 'vitest'
import { errorClass } from './errors.ts'
import { describeDefault, optionTable } from './options.ts'
import { repoStates, repoTransitions } from './repo-states.ts'

const root = join(import.meta.dirname, '../../..')

const blocks = [
  { page: 'ARCHITECTURE.md', name: 'states', text: stateTable() },
  { page: 'OPERATIONS.md', name: 'options', text: optionList() },
  { page: 'OPERATIONS.md', name: 'codes', text: codeList() },
]

test.each(blocks)('the block $name of $page says what the code says', ({ page, name, text }) => {
  const path = join(root, page)
  const before = readFileSync(path, 'utf8')
  const pattern = new RegExp(`<!-- ${name} -->\n[\\s\\S]*?<!-- /${name} -->`)
  expect(before, 'the block stands in the page').toMatch(pattern)
  const after = before.replace(pattern, () => `<!-- ${name} -->\n${text}<!-- /${name} -->`)
  if (process.env.DOCS === 'write') writeFileSync(path, after)
  else expect(before).toBe(after)
})

test('every file of apps/indexer/src stands in the file map of ARCHITECTURE.md, and no other', () => {
  const [, map = ''] =
    /^In `apps\/indexer\/src`:\n(.*?)^## /ms.exec(readFileSync(join(root, 'ARCHITECTURE.md'), 'utf8')) ?? []
  const patterns = [...map.matchAll(/`([\w*-]+)`/g)].map(([, name = '']) => new RegExp(`^${name.replace('*', '.*')}$`))
  const files = readdirSync(import.meta.dirname)
    .filter((file) => file.endsWith('.ts') && !/^testing-|\.test\.ts$/.test(file))
    .map((file) => file.slice(0, -'.ts'.length))
  expect(files.filter((file) => !patterns.some((pattern) => pattern.test(file)))).toEqual([])
  expect(patterns.filter((pattern) => !files.some((file) => pattern.test(file)))).toEqual([])
  expect(files.length).toBeGreaterThan(100)
})

/** A path in backquotes, then perhaps texts in quotes: each the name of a test in that file, or the beginning or a part of one. */
test.each([
  { page: 'ARCHITECTURE.md', atLeast: 15 },
  { page: 'docs/hazards.md', atLeast: 40 },
])('every test that $page names is there', ({ page, atLeast }) => {
  const text = readFileSync(join(root, page), 'utf8')
  const named = [...text.matchAll(/`((?:apps|packages|testing)\/[\w./-]+\.ts)`((?:,? "[^"]+")*)/g)]
  const missing = named.flatMap(([, path = '', names = '']) => {
    const file = join(root, path)
    const source = existsSync(file) ? readFileSync(file, 'utf8') : undefined
    if (source === undefined) return [path]
    return [...names.matchAll(/"([^"]+)"/g)].flatMap(([, name = '']) =>
      source.includes(name) ? [] : `${path}: ${name}`,
    )
  })
  expect(missing).toEqual([])
  expect(named.length).toBeGreaterThan(atLeast)
})

test('every switch of the fake network is thrown by a test, and docs/hazards.md has it', () => {
  const page = readFileSync(join(root, 'docs/hazards.md'), 'utf8')
  const folder = join(root, 'testing/network')
  const tests = readdirSync(folder).filter((file) => file.endsWith('.test.ts'))
  const thrown = tests.map((file) => readFileSync(join(folder, file), 'utf8')).join('\n')
  const switches = ['listings', 'repos', 'cars', 'identities'].flatMap((kind) => {
    const source = readFileSync(join(folder, `fake-${kind}.ts`), 'utf8')
    const [, table = ''] = /^const \w+Faults = \{\n(.*?)^\} as const/ms.exec(source) ?? []
    return [...table.matchAll(/^ {2}(?:'([^'\n]+)'|"([^"\n]+)"|(\w+)): /gm)].map(([, a, b, c]) => a ?? b ?? c ?? '')
  })
  expect(switches.length).toBeGreaterThan(50)
  expect(switches.filter((name) => !page.includes(`"${name}"`))).toEqual([])
  expect(switches.filter((name) => !thrown.includes(`'${name}'`) && !thrown.includes(`"${name}"`))).toEqual([])
})

function stateTable(): string {
  const events = Object.keys(repoTransitions.waiting) as (keyof typeof repoTransitions.waiting)[]
  const row = (cells: string[]): string => `| ${cells.join(' | ')} |\n`
  return [
    row(['event', ...repoStates]),
    row(['---', ...repoStates.map(() => '---')]),
    ...events.map((event) => row([event, ...repoStates.map((state) => repoTransitions[state][event] ?? '·')])),
  ].join('')
}

function optionList(): string {
  const lines = Object.entries(optionTable).map(([name, option]) => {
    const value = 'env' in option ? describeDefault(name as keyof typeof optionTable, option.default) : ''
    return `| \`${option.flags}\` | ${'env' in option ? `\`${option.env}\`` : ''} | ${value} | ${option.help} |\n`
  })
  return ['| flag | variable | default | what it is |\n', '| --- | --- | --- | --- |\n', ...lines].join('')
}

/** The doc comment above each code, of ours and of repo-stream's, is its manual. */
function codeList(): string {
  const source = readFileSync(join(import.meta.dirname, 'errors.ts'), 'utf8')
  const table = source.slice(source.indexOf('export const errorCodes'), source.indexOf('} as const'))
  const codes: string[][] = [...table.matchAll(/\/\*\* ([\s\S]*?) \*\/\s+(\w+): '([\w-]+)'/g)]
  const walk = readFileSync(join(root, 'packages/repo-stream/src/errors.ts'), 'utf8')
  for (const [, comment = '', code = ''] of walk.matchAll(/\/\*\* (.*?) \*\/\n {2}\| '(\w+)'/g)) {
    codes.push(['', comment, code, errorClass(new RepoStreamError(code as RepoStreamErrorCode, '')) ?? 'bug'])
  }
  return [
    '| code | class | what it means, what to do |\n| --- | --- | --- |\n',
    ...codes.map(
      ([, comment, code, kind]) => `| \`${code}\` | ${kind} | ${comment?.replace(/\s*\n\s*\*\s*/g, ' ')} |\n`,
    ),
  ].join('')
}
