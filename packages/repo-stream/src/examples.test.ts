// Runs the examples as a reader would, and the snippet of the README.
import { spawn } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { buildRepo, generateRecords, makeDid, makeSigningKey } from '../fixtures/index.ts'

const root = join(import.meta.dirname, '..')
const folder = mkdtempSync(join(tmpdir(), 'repo-stream-examples-'))
const signingKey = makeSigningKey('examples')
const did = makeDid('examples')
const repo = buildRepo({ did, signingKey, records: generateRecords({ seed: 'examples', count: 6_000 }) })
const file = join(folder, 'repo.car')
writeFileSync(file, repo.car)

afterAll(() => rmSync(folder, { recursive: true }))

async function run(script: string, ...args: readonly string[]): Promise<string> {
  const child = spawn(process.execPath, ['--conditions=workspace-source', script, ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  const output = Buffer.concat(await Array.fromAsync(child.stdout)).toString()
  expect(await ended).toBe(0)
  return output
}

const count = (prefix: string): number => repo.entries.filter(({ key }) => key.startsWith(prefix)).length

test('the example count-collections counts', async () => {
  const output = await run('examples/count-collections.ts', file)
  expect(output).toContain(`app.bsky.feed.like: ${count('app.bsky.feed.like/')}\n`)
})

test('the example spill-and-process finds every follow and leaves no file', async () => {
  const spills = mkdtempSync(join(folder, 'spills-'))
  const output = await run('examples/spill-and-process.ts', file, spills)
  expect(output.trim().split('\n')).toHaveLength(count('app.bsky.graph.follow/'))
  expect(readdirSync(spills)).toEqual([])
})

test('the example download prints the posts of a repo that it fetched and verified', async () => {
  const server = createServer((_request, response) => response.end(repo.car)).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : undefined
  try {
    const output = await run('examples/download.ts', `http://127.0.0.1:${port}`, did, signingKey.did)
    expect(output.trim().split('\n')).toHaveLength(count('app.bsky.feed.post/'))
  } finally {
    server.close()
  }
})

test("the README's code runs as it stands there", async () => {
  const snippets = [...readFileSync(join(root, 'README.md'), 'utf8').matchAll(/^```ts\n(.*?)^```$/gms)]
  expect(snippets).toHaveLength(1)
  const script = join(root, 'examples', `.readme-${process.pid}.ts`)
  writeFileSync(
    script,
    (snippets[0]?.[1] ?? '').replaceAll("'repo.car'", JSON.stringify(file)).replace(/did:key:z\w*…?/, signingKey.did),
  )
  try {
    expect(await run(script)).toContain('app.bsky.feed.like/')
  } finally {
    rmSync(script)
  }
})
