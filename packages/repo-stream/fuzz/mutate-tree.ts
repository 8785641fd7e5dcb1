// Damages the tree of a repo and repairs everything above it: every hash is right and the commit is signed, so that only
// the rules of nodes, keys and commits can tell. A built repo in, a CAR out.
import { CID } from 'multiformats/cid'
import {
  type BuiltRepo,
  type CarBlock,
  encodeRecord,
  linkTo,
  type Random,
  rawBlock,
  rawRecord,
  type SigningKey,
  writeCar,
} from '../fixtures/index.ts'
import { decodeRecord } from '../src/index.ts'

interface TreeEntry {
  key: Buffer
  value: CarBlock
  /** Added to the right prefix length. */
  prefixError: number
  right: TreeNode | undefined
}

interface TreeNode {
  left: TreeNode | undefined
  entries: TreeEntry[]
  /** Changes the encoded bytes. */
  damage: ((bytes: Buffer) => Uint8Array) | undefined
}

export function mutateTree(repo: BuiltRepo, signingKey: SigningKey, random: Random): Uint8Array {
  const root = readNode(repo, repo.data)
  for (let i = 1 + random.below(3); i > 0; i--) {
    const node = random.pick(nodesOf(root))
    random.pick(mutations)(node, random, root)
  }
  const { block, blocks } = writeNode(root)
  const commit = writeCommit(repo, block, { signingKey, random })
  const inOrder = [commit, ...(random.chance(0.8) ? withoutRepeats(blocks) : blocks)]
  return writeCar([commit.cid], random.chance(0.5) ? inOrder : shuffled(inOrder, random))
}

type Mutation = (node: TreeNode, random: Random, root: TreeNode) => void

const mutations: readonly Mutation[] = [
  (node, random) => withEntry(node, random, (entry) => changeKey(entry, random)),
  (node, random) => withEntry(node, random, (entry) => changeKey(entry, random)),
  (node, random) => withEntry(node, random, (entry) => (entry.prefixError = random.below(5) - 2)),
  (node, random) => withEntry(node, random, (_entry, at) => node.entries.splice(at, 1)),
  (node, random) => withEntry(node, random, (entry, at) => node.entries.splice(at, 0, { ...entry })),
  (node, random) => withEntry(node, random, (entry) => (entry.right = undefined)),
  (node, random, root) => withEntry(node, random, (entry) => (entry.right = random.pick(nodesOf(root, node)))),
  (node, random) =>
    withEntry(node, random, (entry) => (entry.value = rawRecord({ $type: 'a.b.c', n: random.below(9) }))),
  (node, random) =>
    withEntry(node, random, (entry) => (entry.value = { ...entry.value, cid: entry.value.cid.with(35, 7) })),
  (node, random) => node.entries.splice(0, 2, ...node.entries.slice(0, random.below(3)).reverse()),
  (node) => (node.left = undefined),
  (node, random, root) => (node.left = random.pick(nodesOf(root, node))),
  (node) => (node.left = { left: node.left, entries: [], damage: undefined }),
  (node) => moveDown(node),
  (node) => moveUp(node),
  (node) => (node.entries = []),
  (node, random) => (node.damage = (bytes) => damageBytes(bytes, random)),
  (node, random) => (node.damage = (bytes) => damageBytes(bytes, random)),
  (node, random) => (node.damage = (bytes) => damageBytes(bytes, random)),
]

/** Puts an entry-less node between this node and what it holds. */
function moveDown(node: TreeNode): void {
  const inner = { ...node }
  node.left = inner
  node.entries = []
  node.damage = undefined
}

/** Takes in the left child's entries, as if it had no level of its own. */
function moveUp(node: TreeNode): void {
  const { left } = node
  if (!left) return
  node.entries = [...left.entries, ...node.entries]
  node.left = left.left
}

function withEntry(node: TreeNode, random: Random, change: (entry: TreeEntry, at: number) => unknown): void {
  const at = random.below(node.entries.length)
  const entry = node.entries[at]
  if (entry) change(entry, at)
}

function changeKey(entry: TreeEntry, random: Random): void {
  const key = Buffer.from(entry.key)
  const at = random.below(key.length)
  key[at] = random.chance(0.6)
    ? (key[at] ?? 0) + random.below(3) - 1
    : random.pick([0x2f, 0x2e, 0x00, 0x7f, 0xff, 0x41])
  const cut = random.chance(0.2) ? key.subarray(0, at) : key
  entry.key = random.chance(0.1) ? Buffer.concat([cut, random.bytes(2)]) : cut
}

function damageBytes(bytes: Buffer, random: Random): Uint8Array {
  const at = random.below(bytes.length)
  const more = random.pick([[], [], [random.below(256)], [0x18], [0xff], [0xf6]])
  const removed = random.below(3)
  return Buffer.concat([bytes.subarray(0, at), Buffer.from(more), bytes.subarray(at + removed)])
}

/** All nodes of the tree, but not `except` or what is below it, as that would make a circle. */
function nodesOf(root: TreeNode, except?: TreeNode): TreeNode[] {
  const found: TreeNode[] = []
  const pending = [root]
  for (let node = pending.pop(); node; node = pending.pop()) {
    if (except && isWithin(except, node)) continue
    found.push(node)
    for (const child of [node.left, ...node.entries.map(({ right }) => right)]) if (child) pending.push(child)
  }
  return found.length > 0 ? found : [{ left: undefined, entries: [], damage: undefined }]
}

function isWithin(wanted: TreeNode, node: TreeNode): boolean {
  if (node === wanted) return true
  return [node.left, ...node.entries.map(({ right }) => right)].some((child) => child && isWithin(wanted, child))
}

function readNode(repo: BuiltRepo, cid: Uint8Array): TreeNode {
  const { e, l } = decodeRecord(repo.block(cid) ?? new Uint8Array(0))
  let key = Buffer.alloc(0)
  const entries: TreeEntry[] = []
  for (const item of Array.isArray(e) ? e : []) {
    const { k, p, t, v } = Object(item)
    key = Buffer.concat([key.subarray(0, Number(p)), k])
    const value = CID.asCID(v)?.bytes ?? new Uint8Array(36)
    const right = CID.asCID(t)
    entries.push({
      key,
      value: { cid: value, bytes: repo.block(value) ?? new Uint8Array(0) },
      prefixError: 0,
      right: right ? readNode(repo, right.bytes) : undefined,
    })
  }
  const left = CID.asCID(l)
  return { left: left ? readNode(repo, left.bytes) : undefined, entries, damage: undefined }
}

/** The node's block, and all blocks of its subtree in preorder, that one first. */
function writeNode(node: TreeNode): { block: CarBlock; blocks: CarBlock[] } {
  const left = node.left && writeNode(node.left)
  const below: CarBlock[] = [...(left?.blocks ?? [])]
  let previous: Buffer = Buffer.alloc(0)
  const e = node.entries.map(({ key, value, prefixError, right: rightNode }) => {
    let shared = 0
    while (shared < previous.length && previous[shared] === key[shared]) shared++
    const p = Math.max(0, shared + prefixError)
    previous = key
    const right = rightNode && writeNode(rightNode)
    below.push(value, ...(right?.blocks ?? []))
    return { k: Uint8Array.from(key.subarray(p)), p, t: right ? linkTo(right.block) : null, v: linkTo(value) }
  })
  const bytes = Buffer.from(encodeRecord({ e, l: left ? linkTo(left.block) : null }))
  const block = rawBlock(node.damage ? node.damage(bytes) : bytes)
  return { block, blocks: [block, ...below] }
}

interface CommitOptions {
  signingKey: SigningKey
  random: Random
}

function writeCommit(repo: BuiltRepo, tree: CarBlock, { signingKey, random }: CommitOptions): CarBlock {
  const fields = { did: repo.did, rev: repo.rev, data: linkTo(tree), prev: null, version: 3 }
  const spoil = random.chance(0.1)
    ? random.pick([{ version: 2 }, { rev: 'x' }, { extra: 1 }, { prev: linkTo(tree) }])
    : {}
  const sig = signingKey.sign(encodeRecord({ ...fields, ...spoil }))
  const block = rawRecord({ ...fields, ...spoil, sig })
  return random.chance(0.1) ? rawBlock(damageBytes(Buffer.from(block.bytes), random)) : block
}

function withoutRepeats(blocks: readonly CarBlock[]): CarBlock[] {
  return [...new Map(blocks.map((block) => [Buffer.from(block.cid).toString('hex'), block])).values()]
}

function shuffled(blocks: readonly CarBlock[], random: Random): CarBlock[] {
  return blocks
    .map((block) => ({ block, place: random.uint32() }))
    .sort((left, right) => left.place - right.place)
    .map(({ block }) => block)
}
