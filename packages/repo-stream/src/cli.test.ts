import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { buildRepo, cidText, generateRecords, makeDid, makeSigningKey } from '../fixtures/index.ts'

const folder = mkdtempSync(join(tmpdir(), 'repo-stream-cli-'))
const signingKey = makeSigningKey('cli')
const repo = buildRepo({
  did: makeDid('cli'),
  signingKey,
  records: generateRecords({ seed: 'cli', count: 300, mix: { like: 5, post: 3, unknown: 2 } }),
})
const file = join(folder, 'repo.car')
writeFileSync(file, repo.car)
const broken = join(folder, 'broken.car')
writeFileSync(broken, repo.car.subarray(0, -10))

afterAll(() => rmSync(folder, { recursive: true }))

function run(args: readonly string[], input?: Uint8Array): { status: number | null; stdout: string; stderr: string } {
  const cli = join(import.meta.dirname, 'cli.ts')
  const { status, stdout, stderr } = spawnSync(process.execPath, [cli, ...args], { input, encoding: 'utf8' })
  return { status, stdout, stderr }
}

describe('the command repo-stream', () => {
  test('stat says whose repo it is and counts records and bytes by collection', () => {
    const { status, stdout } = run(['stat', file])
    const bytes = repo.entries.reduce((sum, entry) => sum + entry.bytes.length, 0)
    expect(status).toBe(0)
    expect(stdout).toContain(`did\t${repo.did}\nrev\t${repo.rev}\ncommit\t${repo.head}\n`)
    expect(stdout).toMatch(/^app\.bsky\.feed\.like\t\d+ records\t\d+ bytes$/m)
    expect(stdout).toContain(`total\t300 records\t${bytes} bytes\n`)
  })

  test('ls gives every key with its CID, in key order, from standard input too', () => {
    const lines = repo.entries.map(({ key, cid }) => `${key}\t${cidText(cid)}\n`)
    expect(run(['ls', file]).stdout).toBe(lines.join(''))
    expect(run(['ls', '-'], repo.car).stdout).toBe(lines.join(''))
  })

  test('ls gives one collection when asked', () => {
    const lines = run(['ls', file, 'app.bsky.feed.post']).stdout.trim().split('\n')
    expect(lines.length).toBeGreaterThan(50)
    expect(lines.every((line) => line.startsWith('app.bsky.feed.post/'))).toBe(true)
  })

  test('cat gives a record as JSON, with links, bytes and integers of 64 bits', () => {
    const { key } = repo.entries.find((entry) => entry.key.startsWith('com.example.')) ?? { key: '' }
    const { status, stdout } = run(['cat', file, key])
    expect(status).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ $type: 'com.example.blog.entry', nested: { list: [1, [2, [3]], {}] } })
    expect(stdout).toMatch(/"large": \d{10,}/)
    expect(stdout).toMatch(/"bytes": \{ "\$bytes": "[\w+/]+" \}/)
    expect(run(['cat', file, 'app.bsky.actor.profile/self']).stdout).toMatch(/\{ "\$link": "bafkrei\w+" \}/)
  })

  test('cat of a key that is not there ends with 1', () => {
    expect(run(['cat', file, 'a.b.c/d'])).toMatchObject({ status: 1, stdout: '' })
  })

  test('verify accepts the key of the account and no other', () => {
    expect(run(['verify', file, '--key', signingKey.did])).toMatchObject({ status: 0 })
    expect(run(['verify', file, '--key', makeSigningKey('other').did])).toMatchObject({ status: 1 })
    expect(run(['verify', file]).stdout).toContain('300 records')
  })

  test('a broken CAR ends with 1, its code and the place', () => {
    const { status, stderr } = run(['verify', broken])
    expect(status).toBe(1)
    expect(stderr).toMatch(/^repo-stream: CarTruncated: .* \(byte \d+\)$/m)
  })

  test('wrong use ends with 2 and the usage, a missing file with 1', () => {
    expect(run([])).toMatchObject({ status: 2, stderr: expect.stringContaining('repo-stream stat FILE') })
    expect(run(['burn', file])).toMatchObject({ status: 2 })
    expect(run(['stat', file, '--nonsense'])).toMatchObject({ status: 2 })
    expect(run(['stat', join(folder, 'none.car')])).toMatchObject({ status: 1 })
  })
})
