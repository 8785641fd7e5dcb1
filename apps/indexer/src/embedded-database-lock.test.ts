import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { lockDirectory } from './embedded-database-lock.ts'

const lockScript = `
  const { lockDirectory } = await import(process.argv[1])
  await using _lock = await lockDirectory(process.argv[2])
  process.stdout.write('locked')`

test('a directory is locked where nothing can be written to the disk', () => {
  const directory = temporaryFolder()
  const module = pathToFileURL(join(import.meta.dirname, 'embedded-database-lock.ts')).href
  const node = [process.execPath, '--conditions=workspace-source', '--input-type=module', '--eval', lockScript]
  const limited = ['-c', 'ulimit -f 0; exec "$@"', 'sh', ...node, module, directory]
  const { stdout, stderr } = spawnSync('sh', limited, { encoding: 'utf8' })
  expect({ stdout, stderr }).toMatchObject({ stdout: 'locked' })
})

test('one holder at a time', async () => {
  const directory = temporaryFolder()
  const first = await lockDirectory(directory)
  let isSecond = false
  const second = lockDirectory(directory).then((lock) => {
    isSecond = true
    return lock
  })
  await new Promise((resolve) => setTimeout(resolve, 100))
  expect(isSecond).toBe(false)
  await first[Symbol.asyncDispose]()
  await (await second)[Symbol.asyncDispose]()
})

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'lock-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}
