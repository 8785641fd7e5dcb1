// Repos that go into a parcel and come out of it, and the memory that they share.
import { expect, test } from 'vitest'
import { Packer, type RepoToPack, unpack } from './parcel.ts'
import { RowBuffers } from './row-buffers.ts'
import { appendTestRow } from './testing-append.ts'

const like = { columns: [], generic: false }
const post = { columns: [], generic: false }
const digest = new Uint8Array(32).fill(7)
const noFields = { collection: '', digest, fields: new Uint8Array(0) }
const noSkipped = new Map<string, number>()

/** A repo of `likes` rows in table 3 and one in table 65,536. */
function makeRepo(buffers: RowBuffers, task: number, likes: number): RepoToPack & { wanted: Buffer[] } {
  const shapes = [like, post]
  const [first, second] = shapes.map((shape) => buffers.take(shape))
  if (first === undefined || second === undefined) throw new Error('two shapes, two buffers')
  for (let i = 0; i < likes; i++) appendTestRow(first, task, { ...noFields, rkey: `like-${i}` })
  appendTestRow(second, task, { ...noFields, rkey: `post-${task}` })
  const bytes = first.bytes + second.bytes
  const tables = new Map([
    [3, { rows: first.rows, bytes: first.take() }],
    [65_536, { rows: second.rows, bytes: second.take() }],
  ])
  const wanted = [...tables.values()].map((table) => Buffer.concat(table.bytes))
  const head = new Uint8Array(36).fill(task)
  return {
    task,
    rejected: 0,
    spilled: task % 2 === 1,
    repo: {
      rev: `3kabcdefgh22${task}`,
      head,
      tables,
      rows: likes + 1,
      bytes,
      rejects: [],
      oddities: [],
      skipped: noSkipped,
    },
    recycle: () => {
      buffers.give(like, first)
      buffers.give(post, second)
    },
    wanted,
  }
}

test('repos come out of a parcel as they went in, also when their buffers are used again', () => {
  const buffers = new RowBuffers()
  const packer = new Packer()
  for (const round of [0, 10]) {
    const repos = [1, 2, 3].map((task) => makeRepo(buffers, round + task, task * 40))
    for (const repo of repos) packer.add(repo)
    const parcel = packer.seal()
    if (parcel === undefined) throw new Error('there are repos to send')
    for (const _ of repos) makeRepo(buffers, 99, 100) // writes over what was copied
    const unpacked = [...unpack(parcel)]
    expect(unpacked).toHaveLength(3)
    for (const [index, { repo, task, rejected, spilled }] of unpacked.entries()) {
      const sent = repos[index]
      expect({ task, rejected, spilled }).toEqual({ task: sent?.task, rejected: 0, spilled: sent?.spilled })
      expect({ ...repo, tables: undefined }).toEqual({ ...sent?.repo, tables: undefined })
      expect([...repo.tables.keys()]).toEqual([3, 65_536])
      expect([...repo.tables.values()].map(({ rows }) => rows)).toEqual([(index + 1) * 40, 1])
      expect([...repo.tables.values()].map(({ bytes }) => Buffer.concat(bytes))).toEqual(sent?.wanted)
    }
  }
  expect(packer.seal()).toBeUndefined()
})

test('a repo with rejects, oddities or skipped collections keeps them, the others get none', () => {
  const packer = new Packer()
  const whole = new Uint8Array([0, 1, 2, 3])
  const odd = makeRepo(new RowBuffers(), 1, 1)
  const rejects = [
    { collection: 'a.b.c', rkey: 'x', cid: digest, code: 'RecordMalformed', message: 'no', bytes: whole.subarray(1) },
  ]
  packer.add({ ...odd, rejected: 1, repo: { ...odd.repo, rejects, skipped: new Map([['d.e.f', 5]]) } })
  packer.add(makeRepo(new RowBuffers(), 2, 0))
  const parcel = packer.seal()
  const [first, second] = parcel === undefined ? [] : unpack(parcel)
  expect(first?.rejected).toBe(1)
  expect(first?.repo.rejects).toEqual(rejects)
  expect(first?.repo.rejects[0]?.bytes.buffer.byteLength).toBe(3) // not all that it was a view of
  expect(first?.repo.skipped).toEqual(new Map([['d.e.f', 5]]))
  expect(second?.repo).toMatchObject({ rejects: [], oddities: [], skipped: new Map() })
})

test('the memory of a parcel is freed when the last of its repos is released', () => {
  const packer = new Packer()
  for (const task of [1, 2]) packer.add(makeRepo(new RowBuffers(), task, 5))
  const parcel = packer.seal()
  if (parcel === undefined) throw new Error('there are repos to send')
  const releases = [...unpack(parcel)].map(({ release }) => release)
  releases[0]?.()
  expect(parcel.bytes.detached).toBe(false)
  releases[1]?.()
  expect(parcel.bytes.detached).toBe(true)
})
