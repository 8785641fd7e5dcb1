// The whole job in one loop: a CAR in, chunks of entries out. It spills by itself, to a temporary file in `spillDir`.
import { openDiskStore } from './disk-store.ts'
import { loadCar } from './load-car.ts'
import { removeStaleSpills, spillPath } from './spill-dir.ts'
import type { CarSource, DiskStore, DiskStoreOptions, Entry, LoadedCar, LoadOptions, OpenStore } from './types.ts'

export interface WalkRepoOptions extends Omit<LoadOptions, 'openStore'> {
  /** Folder for the temporary file of a walk past the memory limit; made when it is missing. */
  readonly spillDir: string
  /** Most entries in a chunk. Default 1000. */
  readonly chunkEntries?: number | undefined
  /** For the temporary file. */
  readonly store?: DiskStoreOptions | undefined
}

/**
 * Walks a repo in key order. Ending the loop early, an error or an abort frees memory, file and source; an abort between two
 * chunks does so when the next one is asked for.
 * The signature is not checked: a caller who needs the commit takes `loadCar`.
 */
export async function* walkRepo(source: CarSource, options: WalkRepoOptions): AsyncGenerator<Entry[], void, undefined> {
  const { spillDir, chunkEntries = 1000, store = {}, ...load } = options
  const openStore = async (): Promise<DiskStore> => {
    await removeStaleSpills(spillDir)
    return openDiskStore(spillPath(spillDir), store)
  }
  const { driver } = await finish(source, { ...load, openStore })
  try {
    for (
      let chunk = await driver.nextChunk(chunkEntries);
      chunk !== undefined;
      chunk = await driver.nextChunk(chunkEntries)
    ) {
      yield chunk
    }
  } finally {
    await driver.close()
  }
}

async function finish(source: CarSource, options: LoadOptions & { openStore: OpenStore }): Promise<LoadedCar> {
  const car = await loadCar(source, options)
  return car.kind === 'memory' ? car : car.finishLoading(options.openStore)
}
