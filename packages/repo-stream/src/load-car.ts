// Loads a CAR and gives a driver over its records: at once when it fits into memory, else after the caller has given a disk
// store. The only surprise: a CAR in preorder may be walked while it still comes in (`preorder`).
import { SqliteStore } from './disk-store.ts'
import { RepoStreamError } from './errors.ts'
import { Load } from './load.ts'
import type { CarSource, Commit, DiskCar, DiskStore, LoadedCar, LoadOptions, MemoryCar, OpenStore } from './types.ts'
import { WalkDriver } from './walk-driver.ts'

/**
 * Reads a CAR until it is whole in memory, or until `memoryLimitBytes` or the budget stops it.
 * Throws a `RepoStreamError`, what the source throws, or the signal's reason; by then everything is freed. A `TypeError`: an option that
 * is no number of bytes, or a chunk that is no `Uint8Array`.
 */
export async function loadCar(source: CarSource, options: LoadOptions = {}): Promise<MemoryCar | DiskCar> {
  const load = new Load(source, options)
  const streams = options.preorder !== 'buffer'
  try {
    if (streams && options.openStore !== undefined) {
      const outcome = load.readAtHand(() => load.hasStarted) ?? (await load.read(() => load.hasStarted))
      if (outcome === 'enough' && load.startsInPreorder) return inMemory(load)
    }
    const outcome = load.readAtHand(never) ?? (await load.read(never))
    if (outcome === 'full') return new SuspendedCar(load, streams)
    return inMemory(load)
  } catch (error) {
    await load.close()
    throw error
  }
}

class SuspendedCar implements DiskCar {
  readonly kind = 'disk'
  readonly #load: Load
  readonly #streams: boolean
  #used = false

  constructor(load: Load, streams: boolean) {
    this.#load = load
    this.#streams = streams
  }

  async finishLoading(store: DiskStore | OpenStore): Promise<LoadedCar> {
    if (this.#used) {
      if (store instanceof SqliteStore) await store.closeUnused()
      throw new RepoStreamError('Closed', 'this load has been finished or discarded')
    }
    this.#used = true
    try {
      await this.#load.takeStore(store)
      const streams = this.#streams && this.#load.startsInPreorder
      this.#load.moveToDisk({ streams })
      if (!streams) await this.#load.read(never)
      return drive(this.#load)
    } catch (error) {
      await this.#load.close()
      throw error
    }
  }

  async discard(): Promise<void> {
    this.#used = true
    await this.#load.close()
  }
}

function inMemory(load: Load): MemoryCar {
  const { commit, driver } = drive(load)
  return { kind: 'memory', commit, driver }
}

function drive(load: Load): { commit: Commit; driver: WalkDriver } {
  const commit = load.commit()
  return { commit, driver: new WalkDriver(load, commit) }
}

function never(): boolean {
  return false
}
