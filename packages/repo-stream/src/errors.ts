// The errors of this package: one class, a closed union of codes, and where in the input the trouble is.
// Messages are for people and may change; codes are stable. An abort rejects with the signal's own reason, not with these.

/**
 * What went wrong. Bad bytes are told apart by what a caller can do: `CarTruncated`, `MissingCommit` and `MissingBlock`
 * mean that a download is incomplete (fetch again); `DiskFull` and `DiskFailed` are about this machine; `StoredBytesLimit`,
 * `StoreBudgetSpent` and `LimitExceeded` are the caller's own limits; every other code says that the repo or the CAR is invalid.
 */
export type RepoStreamErrorCode =
  /** The bytes end inside the header, a length or a block: an incomplete download. `offset`: where the cut piece starts. */
  | 'CarTruncated'
  /** A varint that is longer than its value needs, or longer than 8 bytes. `offset`: its first byte. */
  | 'VarintInvalid'
  /** The header is not the canonical DAG-CBOR map `{roots, version}` of CAR v1, or its version is not 1. */
  | 'CarHeaderInvalid'
  /** The header names no root, or more than one. A repo export has exactly one: its commit. */
  | 'CarRootsInvalid'
  /** A section is shorter than a CID, so it holds no block. `offset`: its first byte. */
  | 'SectionInvalid'
  /** A block or link has a CID that is not CIDv1, DAG-CBOR, SHA-256, 32 bytes: the only form in a repo. */
  | 'CidUnsupported'
  /** The bytes of a block do not have the hash that its CID states. `offset` and `cid`: that block. */
  | 'BlockHashMismatch'
  /** The block that the header's root names is not in the CAR: an answer without blocks, or an incomplete download. */
  | 'MissingCommit'
  /** A block that the tree needs is not in the CAR: an incomplete download. `cid`: the block. */
  | 'MissingBlock'
  /** The root block is not a canonical commit object. `details.field` names the field where there is one. */
  | 'CommitInvalid'
  /** The commit's `version` is not 3. */
  | 'CommitVersionUnsupported'
  /** A node of the tree is not the canonical DAG-CBOR of an MST node. `cid`: the node. */
  | 'NodeInvalid'
  /** A node below the root has neither keys nor a child. `cid`: the node. */
  | 'NodeEmpty'
  /** A key is not `collection/rkey` in the characters of the repo path syntax. `details.key`: the bytes, as latin1. */
  | 'KeyInvalid'
  /** A key's prefix length is not exactly what it shares with the key before it in its node. */
  | 'KeyPrefixInvalid'
  /** A key is not greater than the key before it: out of order, or repeated. */
  | 'KeyOrderInvalid'
  /** A key stands at another depth than its hash demands, or a node hangs below depth 0. */
  | 'KeyDepthInvalid'
  /** A record is not strict DAG-CBOR. `offset`: within the record. */
  | 'RecordInvalid'
  /** One of `limits` was passed. `details.limit` names it, `details.max` and `details.actual` are the numbers. */
  | 'LimitExceeded'
  /** The disk store would pass its `maxStoredBytes`. */
  | 'StoredBytesLimit'
  /** The budget that several disk stores share has no more: it has when another walk is done. */
  | 'StoreBudgetSpent'
  /** The disk, or a quota or file size limit, has no room for the temporary file. Free some, or put it elsewhere. */
  | 'DiskFull'
  /** The temporary file cannot be opened, written or read. `cause`: the error of SQLite or of the file system. */
  | 'DiskFailed'
  /** The signing key is not a did:key or multibase of a P-256 or K-256 public key. */
  | 'KeyUnusable'
  /** A driver, store or suspended load was used after its end, or twice at once: a bug of the caller. */
  | 'Closed'

export interface RepoStreamErrorOptions {
  /** Byte offset in the CAR, where that is known. */
  readonly offset?: number | undefined
  /** The CID concerned, in its text form (`bafyrei...`). */
  readonly cid?: string | undefined
  readonly cause?: unknown
  /** The values involved, for logs. */
  readonly details?: Readonly<Record<string, unknown>>
}

/** Every error that this package throws by itself, but for wrong arguments, which are a `TypeError`. Match on `code`, never on the message. */
export class RepoStreamError extends Error {
  override readonly name = 'RepoStreamError'
  readonly code: RepoStreamErrorCode
  readonly offset: number | undefined
  readonly cid: string | undefined
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: RepoStreamErrorCode, message: string, options: RepoStreamErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.offset = options.offset
    this.cid = options.cid
    this.details = options.details ?? {}
  }
}
