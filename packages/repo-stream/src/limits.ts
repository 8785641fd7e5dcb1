// Every limit of a load in one table: name, default, reason. Each is checked before anything is allocated for the value.
import { RepoStreamError } from './errors.ts'

export interface Limits {
  /** The CAR's header. A repo's header has one root and takes 59 bytes. */
  readonly maxHeaderBytes: number
  /** One block. Servers take records up to 1 MB and firehose commits up to 2 MB. */
  readonly maxBlockBytes: number
  /** Blocks in the CAR, repeated ones included. Bounds the in-memory index (27 bytes a block at most) of a spilled walk. */
  readonly maxBlocks: number
  /** Bytes of the whole CAR. */
  readonly maxTotalBytes: number
  /** Keys in one tree node. A node has 3 keys on average; chance alone gives 400 once in 10^50 nodes. */
  readonly maxNodeEntries: number
  /** Levels of the tree. A SHA-256 cannot demand more than 128; four keys more are needed for every level. */
  readonly maxDepth: number
  /** The nodes from the root to the one that the walk is in, which are held. A node of 400 keys takes some 40 kB. */
  readonly maxPathBytes: number
  /** One key: 317 for the collection, `/`, 512 for the rkey, rounded up as the reference implementation does. */
  readonly maxKeyBytes: number
}

export const defaultLimits: Limits = Object.freeze({
  maxHeaderBytes: 4096,
  maxBlockBytes: 2 * 1024 * 1024,
  maxBlocks: 100_000_000,
  maxTotalBytes: 64 * 1024 ** 3,
  maxNodeEntries: 4096,
  maxDepth: 128,
  maxPathBytes: 4 * 1024 * 1024,
  maxKeyBytes: 1024,
})

/** The defaults with the caller's own values; a value that is not a positive integer is a TypeError. */
export function resolveLimits(own?: Partial<Limits>): Limits {
  if (own === undefined) return defaultLimits
  const limits = { ...defaultLimits, ...own }
  for (const [name, value] of Object.entries(limits)) {
    if (!Number.isSafeInteger(value) || value < 1)
      throw new TypeError(`limits.${name} must be a positive integer: ${value}`)
  }
  return limits
}

/** A number of bytes of the options; what is none (NaN, a text) is a TypeError, because no comparison with it would ever refuse. */
export function checkBytes(name: string, value: number): number {
  if (typeof value === 'number' && value >= 0) return value
  throw new TypeError(`${name} must be a number of bytes: ${value}`)
}

/** The error for a value past one of the limits, and where it is: an offset in the CAR, or a block. */
export function limitError(
  limit: keyof Limits,
  found: { max: number; actual: number; offset?: number; cid?: string },
): RepoStreamError {
  const { max, actual, offset, cid } = found
  const details = { limit, max, actual }
  return new RepoStreamError('LimitExceeded', `${limit} is ${max}, the input has ${actual}`, { offset, cid, details })
}
