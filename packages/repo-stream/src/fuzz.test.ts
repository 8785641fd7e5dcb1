// A fixed budget of fuzzing for every run of the tests; hours of it are `npm run fuzz -- --hours N`. SEED= repeats a run.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { fuzz } from '../fuzz/fuzz.ts'

const seed = process.env.SEED ?? String(Math.floor(Date.now() / 86_400_000))

test(`no damaged CAR is accepted as what it is not (SEED=${seed})`, async () => {
  const spillDir = mkdtempSync(join(tmpdir(), 'repo-stream-fuzz-'))
  try {
    const { rounds, accepted, refused } = await fuzz({ seed, spillDir, rounds: 600 })
    expect(rounds).toBe(600)
    expect(accepted).toBeGreaterThan(0)
    expect(Object.keys(refused).length).toBeGreaterThan(8)
    expect(readdirSync(spillDir)).toEqual([])
  } finally {
    rmSync(spillDir, { recursive: true, force: true })
  }
})
