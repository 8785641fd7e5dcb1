// The package as others get it: built, packed, installed into an empty folder without a network, and used from there by
// JavaScript, by TypeScript and from the command line.
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildRepo, generateRecords, makeDid, makeSigningKey } from '../fixtures/index.ts'

const root = join(import.meta.dirname, '..')
const folder = mkdtempSync(join(tmpdir(), 'repo-stream-package-'))
const signingKey = makeSigningKey('package')
const repo = buildRepo({
  did: makeDid('package'),
  signingKey,
  records: generateRecords({ seed: 'package', count: 500 }),
})
let packed: { filename: string; size: number; files: { path: string; size: number }[] }

const run = (command: string, args: readonly string[], cwd = folder): string =>
  execFileSync(command, args, { cwd, encoding: 'utf8' })

function pack(directory: string): typeof packed {
  const output: unknown = JSON.parse(run('npm', ['pack', directory, '--json', '--ignore-scripts', '--loglevel=error']))
  const list = Array.isArray(output) ? output : Object.values(Object(output))
  return list[0]
}

beforeAll(() => {
  run(process.execPath, [compiler(), '-p', 'tsconfig.build.json'], root)
  packed = pack(root)
  const multiformats = pack(homeOf('multiformats'))
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
  writeFileSync(join(folder, 'repo.car'), repo.car)
  run('npm', [
    'install',
    '--offline',
    '--no-audit',
    '--no-fund',
    '--loglevel=error',
    `./${multiformats.filename}`,
    `./${packed.filename}`,
  ])
})

afterAll(() => rmSync(folder, { recursive: true }))

/** The folder of an installed package. */
function homeOf(name: string): string {
  return dirname(findPackageJSON(name, import.meta.url) ?? name)
}

function compiler(): string {
  return join(homeOf('typescript'), 'bin/tsc')
}

describe('the packed package', () => {
  test('holds JavaScript, types, README and licence, and little of them', () => {
    const paths = packed.files.map(({ path }) => path)
    expect(paths.filter((path) => !/^(dist\/[\w-]+\.(js|d\.ts)|README\.md|LICENSE|package\.json)$/.test(path))).toEqual(
      [],
    )
    expect(paths.filter((path) => /test|fixture|bench/.test(path))).toEqual([])
    expect(packed.size).toBeLessThan(80_000)
    const { dependencies, scripts } = JSON.parse(
      readFileSync(join(folder, 'node_modules/repo-stream/package.json'), 'utf8'),
    )
    expect(Object.keys(dependencies)).toEqual(['multiformats'])
    expect(Object.keys(scripts)).not.toContain('install')
  })

  test('walks a CAR from an empty folder', () => {
    const script = `
      import { readFileSync } from 'node:fs'
      import { decodeRecord, loadCar, verifyCommit, walkRepo } from 'repo-stream'
      const bytes = readFileSync('repo.car')
      const { commit, driver } = await loadCar(bytes)
      const types = new Set()
      let records = 0
      for (let chunk; (chunk = await driver.nextChunk(100)); ) for (const { data } of chunk) types.add(decodeRecord(data).$type), records++
      await driver.close()
      let spilled = 0
      for await (const chunk of walkRepo([bytes], { spillDir: '.', memoryLimitBytes: 1000 })) spilled += chunk.length
      console.log(JSON.stringify({ did: commit.did, valid: await verifyCommit(commit, '${signingKey.did}'), records, spilled, types: types.size }))`
    writeFileSync(join(folder, 'walk.js'), script)
    const types = new Set(repo.entries.map(({ key }) => key.split('/')[0]))
    expect(JSON.parse(run(process.execPath, ['walk.js']))).toEqual({
      did: repo.did,
      valid: true,
      records: 500,
      spilled: 500,
      types: types.size,
    })
  })

  test('type checks in a strict TypeScript project', () => {
    const source = `
      import { type Commit, type Entry, loadCar, RepoStreamError, type RepoStreamErrorCode, walkRepo } from 'repo-stream'
      export async function keys(source: AsyncIterable<Uint8Array>): Promise<string[]> {
        const found: string[] = []
        for await (const chunk of walkRepo(source, { spillDir: '/tmp' })) found.push(...chunk.map((entry: Entry) => entry.key))
        return found
      }
      export async function commitOf(bytes: Uint8Array): Promise<Commit | RepoStreamErrorCode> {
        try {
          const car = await loadCar(bytes)
          return car.kind === 'memory' ? car.commit : 'Closed'
        } catch (error) {
          if (error instanceof RepoStreamError) return error.code
          throw error
        }
      }`
    writeFileSync(join(folder, 'check.ts'), source)
    const types = dirname(homeOf('@types/node'))
    const flags = [
      '--strict',
      '--noEmit',
      '--target',
      'es2024',
      '--lib',
      'es2024,esnext.disposable',
      '--module',
      'nodenext',
    ]
    run(process.execPath, [
      compiler(),
      ...flags,
      '--typeRoots',
      types,
      '--types',
      'node',
      '--skipLibCheck',
      'false',
      'check.ts',
    ])
  })

  test('brings its command', () => {
    expect(
      run(join(folder, 'node_modules/.bin/repo-stream'), ['verify', 'repo.car', '--key', signingKey.did]),
    ).toContain('the signature is right')
  })
})
