import { expect, test } from 'vitest'
import { ResolveQueue } from './resolve-queue.ts'
import type { Unresolved } from './state-resolution.ts'

const ofMethod = (method: string): Unresolved[] =>
  Array.from({ length: 20 }, (_, id) => ({ id, did: `did:${method}:${id}`, attempts: 0 }))

function takeAll(queue: ResolveQueue, isPlcPaused = false): Unresolved[] {
  const taken: Unresolved[] = []
  for (let repo = queue.take(isPlcPaused); repo; repo = queue.take(isPlcPaused)) taken.push(repo)
  return taken
}

const webs = (taken: readonly Unresolved[]): number => taken.filter(({ did }) => did.startsWith('did:web:')).length

test('of the places a quarter is for did:web', () => {
  const queue = new ResolveQueue(8)
  queue.add([...ofMethod('web'), ...ofMethod('plc')])
  const taken = takeAll(queue)
  expect([taken.length, webs(taken)]).toEqual([8, 2])
  for (const repo of taken) queue.settled(repo)
  expect(takeAll(queue)).toHaveLength(8)
})

test('with one place each kind has one, so that neither waits for the other', () => {
  for (const first of ['web', 'plc']) {
    const queue = new ResolveQueue(1)
    queue.add(ofMethod(first))
    expect(takeAll(queue)).toHaveLength(1)
    queue.add(ofMethod(first === 'web' ? 'plc' : 'web'))
    expect(takeAll(queue)).toHaveLength(1)
  }
})

test('while the directory is paused did:web go on', () => {
  const queue = new ResolveQueue(8)
  queue.add([...ofMethod('plc'), ...ofMethod('web')])
  const taken = takeAll(queue, true)
  expect([taken.length, webs(taken)]).toEqual([2, 2])
  expect(takeAll(queue)).toHaveLength(6)
})

test('each is given once, the first of its kind first', () => {
  const queue = new ResolveQueue(1)
  queue.add(ofMethod('plc'))
  const ids: number[] = []
  for (let repo = queue.take(false); repo; repo = queue.take(false)) {
    ids.push(repo.id)
    queue.settled(repo)
  }
  expect(ids).toEqual(ofMethod('plc').map(({ id }) => id))
  expect(queue.wantsMore).toBe(true)
})
