// Turns the columns of a table into a tree of map keys, so that one pass over a record finds where every column's value is.
import type { Column } from '../config.ts'

/** One map on the way to a value. Shorter keys come first, as they do in records. */
export interface PathNode {
  readonly keys: readonly PathKey[]
}

export interface PathKey {
  readonly length: number
  readonly bytes: Uint8Array
  /** Where the offset of this key's value goes, or -1 when only something inside it is wanted. */
  readonly slot: number
  readonly inside: PathNode | undefined
  /** All slots below this key: told when the value is no map. */
  readonly slotsInside: readonly number[]
}

export interface CompiledPaths {
  readonly root: PathNode
  readonly slotCount: number
  /** Per column, the slots to look at in turn: the first value that is there and not null is taken. */
  readonly columnSlots: readonly (readonly number[])[]
  /** How many columns may copy the same byte; bounds the room that a row needs. */
  readonly mostCopies: number
}

/** Slot 0 is the whole record; its offset is always 0. */
export const wholeRecordSlot = 0

export function compilePaths(columns: readonly Column[]): CompiledPaths {
  const root: Draft = { slot: wholeRecordSlot, copies: 0, children: new Map() }
  let slotCount = 1
  const columnSlots = columns.map((column) =>
    column.paths.map((path) => {
      let draft = root
      for (const key of path) {
        const next: Draft = draft.children.get(key) ?? { slot: -1, copies: 0, children: new Map() }
        draft.children.set(key, next)
        draft = next
      }
      if (draft.slot < 0) draft.slot = slotCount++
      draft.copies++
      return draft.slot
    }),
  )
  return { root: freeze(root), slotCount, columnSlots, mostCopies: mostCopies(root) }
}

interface Draft {
  slot: number
  copies: number
  children: Map<string, Draft>
}

function freeze(draft: Draft): PathNode {
  const keys = [...draft.children].map(([key, child]) => ({
    length: Buffer.byteLength(key),
    bytes: new TextEncoder().encode(key),
    slot: child.slot,
    inside: child.children.size > 0 ? freeze(child) : undefined,
    slotsInside: slotsBelow(child),
  }))
  return { keys: keys.sort((a, b) => a.length - b.length) }
}

function slotsBelow(draft: Draft): number[] {
  return [...draft.children.values()].flatMap((child) => [
    ...(child.slot >= 0 ? [child.slot] : []),
    ...slotsBelow(child),
  ])
}

function mostCopies(draft: Draft): number {
  return draft.copies + Math.max(0, ...[...draft.children.values()].map(mostCopies))
}
