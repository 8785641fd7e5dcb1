import { expect, test } from 'vitest'
import { Pace } from './pace.ts'

/** So long that a test which waited for the rest would fail. */
const longStepMs = 3_600_000
const turn = () => new Promise<string>((resolve) => setImmediate(() => resolve('a turn of the others')))

test('a large repo does not rest when no small one is under way', async () => {
  using large = new Pace().enter()
  await large.worked(longStepMs)
})

test('a large repo rests while a small one is under way', async () => {
  const pace = new Pace()
  using large = pace.enter()
  using _small = pace.enter()
  const worked = large.worked(20).then(() => 'the large one')
  expect(await Promise.race([worked, turn()])).toBe('a turn of the others')
  expect(await worked).toBe('the large one')
})

test.each([
  [1, 'a turn of the others'],
  [2, 'the large one'],
])('of %i large repos one rests the shorter the more there are', async (count, first) => {
  const pace = new Pace()
  using _small = pace.enter()
  using stack = new DisposableStack()
  const larges = Array.from({ length: count }, () => stack.use(pace.enter()))
  for (const large of larges) await large.worked(0)
  const worked = larges[0]?.worked(2).then(() => 'the large one') // 18 ms for one, 2.3 for each of two: too short for a timer
  expect(await Promise.race([worked, turn()])).toBe(first)
  await worked
})

test('a rest that was too long, because the thread had much else to do, is made up for', async () => {
  const pace = new Pace()
  using large = pace.enter()
  using _small = pace.enter()
  const rested = large.worked(2)
  const busyUntilMs = performance.now() + 100
  while (performance.now() < busyUntilMs);
  await rested
  const worked = large.worked(8).then(() => 'the large one') // 72 ms, of the 82 that the first rest was too long
  expect(await Promise.race([worked, turn()])).toBe('the large one')
})

test('a large repo does not rest in a thread that has had nothing to do', async () => {
  const pace = new Pace()
  using large = pace.enter()
  using _small = pace.enter()
  await new Promise((resolve) => setTimeout(resolve, 1_000))
  await large.worked(longStepMs)
})

test('large repos do not rest for each other, nor for small ones that have ended', async () => {
  const pace = new Pace()
  using first = pace.enter()
  using second = pace.enter()
  {
    using _ended = pace.enter()
  }
  void second.worked(0)
  await first.worked(longStepMs)
  await second.worked(longStepMs)
})

test('the first bytes of a CAR are taken without a rest, whoever else is under way', async () => {
  const pace = new Pace()
  using repo = pace.enter()
  using _other = pace.enter()
  const sent = [Uint8Array.of(1), Uint8Array.of(2, 3)]
  const taken: Uint8Array[] = []
  for await (const chunk of repo.chunks(arriving(sent))) taken.push(chunk)
  expect(taken).toEqual(sent)
  expect(pace.small).toBe(2)
})

test('a repo is large once enough of its CAR has come', async () => {
  const pace = new Pace()
  using repo = pace.enter()
  repo.received(9 * 1024 * 1024)
  for await (const _chunk of repo.chunks(arriving([Uint8Array.of(1)])));
  expect(pace.small).toBe(0)
})

async function* arriving(chunks: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks
}
