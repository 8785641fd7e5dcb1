// The package's public surface. Everything else is internal and may change.

export { decodeRecord } from './decode-record.ts'
export { openDiskStore } from './disk-store.ts'
export { entryOf } from './entry.ts'
export { RepoStreamError, type RepoStreamErrorCode, type RepoStreamErrorOptions } from './errors.ts'
export { keyHeight } from './key-height.ts'
export { defaultLimits, type Limits } from './limits.ts'
export { loadCar } from './load-car.ts'
export { makeFolder } from './make-folder.ts'
export { type PublicKey, parsePublicKey } from './public-key.ts'
export { pidSpace, startOf } from './seen-processes.ts'
export { freeNow } from './slab.ts'
export { Spares } from './spares.ts'
export { removeStaleSpills, spillPath } from './spill-dir.ts'
export { microsFromTid, tidFromMicros } from './tid.ts'
export type {
  CarSource,
  Commit,
  DiskCar,
  DiskStore,
  DiskStoreOptions,
  Driver,
  Entry,
  EntryPlace,
  LoadedCar,
  LoadOptions,
  Memory,
  MemoryBudget,
  MemoryCar,
  OpenStore,
  Place,
  Process,
} from './types.ts'
export { type VerifyCommitOptions, type VerifySignature, verifyCommit } from './verify-commit.ts'
export { type WalkRepoOptions, walkRepo } from './walk-repo.ts'
