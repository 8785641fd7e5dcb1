// The peers' sides of the walk, each as its documentation shows it. None of them is asked to check a hash.
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { fromStream, fromUint8Array } from '@atcute/repo'
import { MemoryBlockstore, Repo, readCarWithRoot } from '@atproto/repo'
import { CarReader } from '@ipld/car'
import { decode } from 'cborg'
import { CID } from 'multiformats/cid'
import type { Side, Walked } from './sides.ts'

export const atcuteMemory = fromBytes(walkAtcuteMemory)
export const atcuteStream = fromBytes((bytes) => walkAtcuteStream(Readable.toWeb(Readable.from(pieces(bytes)))))
export const ipldCar = fromBytes(walkIpldCar)
export const atprotoRepo = fromBytes(walkAtprotoRepo)
export const coldAtcuteMemory: Side = async (path) => async () => walkAtcuteMemory(await readFile(path))
export const coldAtcuteStream: Side = async (path) => () => walkAtcuteStream(Readable.toWeb(createReadStream(path)))

function fromBytes(walk: (bytes: Uint8Array) => Promise<Walked> | Walked): Side {
  return async (path) => {
    const bytes = new Uint8Array(await readFile(path))
    return () => walk(bytes)
  }
}

function walkAtcuteMemory(bytes: Uint8Array): Walked {
  const walked = { records: 0, bytes: 0 }
  for (const entry of fromUint8Array(bytes)) {
    walked.records++
    walked.bytes += entry.bytes.length
  }
  return walked
}

async function walkAtcuteStream(stream: ReadableStream): Promise<Walked> {
  const walked = { records: 0, bytes: 0 }
  await using repo = fromStream(stream)
  for await (const entry of repo) {
    walked.records++
    walked.bytes += entry.bytes.length
  }
  return walked
}

/** @ipld/car gives blocks only: the walk over a map of them is the one that its README suggests. */
async function walkIpldCar(bytes: Uint8Array): Promise<Walked> {
  const reader = await CarReader.fromBytes(bytes)
  const blocks = new Map<string, Uint8Array>()
  for await (const block of reader.blocks()) blocks.set(block.cid.toString(), block.bytes)
  const walked = { records: 0, bytes: 0 }
  const read = (cid: unknown): Record<string, unknown> => decode(blocks.get(String(cid)) ?? new Uint8Array(0), { tags })
  function walkNode(cid: unknown): void {
    const { e, l } = read(cid)
    if (l !== null) walkNode(l)
    for (const { t, v } of Array.isArray(e) ? e : []) {
      walked.records++
      walked.bytes += blocks.get(String(v))?.length ?? 0
      if (t !== null) walkNode(t)
    }
  }
  const [root] = await reader.getRoots()
  walkNode(read(root).data)
  return walked
}

const tags = { 42: (inner: () => unknown): CID => CID.decode(linkBytes(inner())) }

function linkBytes(content: unknown): Uint8Array {
  if (!(content instanceof Uint8Array)) throw new TypeError('a link is no byte string')
  return content.subarray(1)
}

async function walkAtprotoRepo(bytes: Uint8Array): Promise<Walked> {
  const { root, blocks } = await readCarWithRoot(bytes, { skipCidVerification: true })
  const repo = await Repo.load(new MemoryBlockstore(blocks), root)
  const walked = { records: 0, bytes: 0 }
  for await (const leaf of repo.data.walkLeavesFrom('')) {
    walked.records++
    walked.bytes += blocks.get(leaf.value)?.length ?? 0
  }
  return walked
}

function* pieces(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536)
}
