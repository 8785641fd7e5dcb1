// A thread checks its first 2,000 keys one by one and all later ones in batches: what the first way refuses, the second must too.
import { beforeAll, expect, test } from 'vitest'
import { hostileTrees } from '../fixtures/hostile-trees.ts'
import { buildRepo, makeSigningKey } from '../fixtures/index.ts'
import { type LoadOptions, loadCar } from './index.ts'

const keysAlone = 2000

async function walk(car: Uint8Array, options: LoadOptions = {}): Promise<number> {
  const loaded = await loadCar(car, options)
  if (loaded.kind !== 'memory') throw new Error('the CAR fits into memory')
  await using driver = loaded.driver
  let entries = 0
  for (let chunk = await driver.nextChunk(1_000); chunk; chunk = await driver.nextChunk(1_000)) entries += chunk.length
  return entries
}

beforeAll(async () => {
  const keys = Array.from({ length: keysAlone + 100 }, (_, index) => `app.bsky.feed.post/${index}`)
  const { car } = buildRepo({
    did: 'did:plc:ewvi7nxzyoun6zhxrhs64oiz',
    signingKey: makeSigningKey('key-depths'),
    records: keys.map((key) => ({ key, value: { key } })),
  })
  expect(await walk(car)).toBe(keys.length)
})

const misplaced = hostileTrees.filter(({ code }) => code === 'KeyDepthInvalid')

test.each(misplaced.map((hostile) => [hostile.name, hostile] as const))('batches refuse %s', async (_name, hostile) => {
  const { verifyHashes = true } = hostile
  await expect(walk(Uint8Array.from(hostile.car()), { verifyHashes })).rejects.toMatchObject({
    code: 'KeyDepthInvalid',
  })
})

test('a batch in which one key of many is misplaced names it', async () => {
  expect(misplaced.length).toBeGreaterThan(5)
  const low = misplaced.find(({ name }) => name === 'a key that stands too low')
  const error = await walk(Uint8Array.from(low?.car() ?? [])).then(String, (thrown: unknown) => thrown)
  expect(error).toMatchObject({ cid: expect.stringMatching(/^bafyrei/), details: { key: expect.any(String) } })
})
