// The package's public surface. Everything else is internal and may change.
export { RepoStreamError, type RepoStreamErrorCode, type RepoStreamErrorOptions } from './errors.ts'
export { defaultLimits, type Limits } from './limits.ts'
export type {
  CarSource,
  Commit,
  DiskCar,
  DiskStore,
  DiskStoreOptions,
  Driver,
  Entry,
  LoadedCar,
  LoadOptions,
  MemoryBudget,
  MemoryCar,
  Process,
} from './types.ts'
