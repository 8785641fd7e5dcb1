// Loads a CAR and gives a driver over its records: at once when it fits into memory, else after the caller has given a disk
// store. The only surprise: a CAR in preorder may be walked while it still comes in (`preorder`).
import { RepoStreamError } from './errors.ts'
import { Load } from './load.ts'
import type { CarSource, Commit, DiskCar, LoadedCar, LoadOptions, MemoryCar } from './types.ts'
import { WalkDriver } from './walk-driver.ts'

/**
 * Reads a CAR until it is whole in memory, or until `memoryLimitBytes` or the budget stops it.
 * Throws a `RepoStreamError`, what the source throws, or the signal's reason; by then everything is freed.
 */
export async function loadCar(source: CarSource, options: LoadOptions = {}): Promise<MemoryCar | DiskCar> {
  const load = new Load(source, options)
  return orClose(load, async () => {
    const outcome = await load.read(never)
    if (outcome === 'full') return new SuspendedCar(load)
    return { kind: 'memory', ...drive(load) }
  })
}

class SuspendedCar implements DiskCar {
  readonly kind = 'disk'
  readonly #load: Load
  #used = false

  constructor(load: Load) {
    this.#load = load
  }

  async finishLoading(...[store]: Parameters<DiskCar['finishLoading']>): Promise<LoadedCar> {
    if (this.#used) throw new RepoStreamError('Closed', 'this load has been finished or discarded')
    this.#used = true
    return orClose(this.#load, async () => {
      this.#load.moveToDisk(store)
      await this.#load.read(never)
      return drive(this.#load)
    })
  }

  async discard(): Promise<void> {
    this.#used = true
    await this.#load.close()
  }
}

function drive(load: Load): { commit: Commit; driver: WalkDriver } {
  const commit = load.commit()
  return { commit, driver: new WalkDriver(load, commit) }
}

async function orClose<T>(load: Load, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    await load.close()
    throw error
  }
}

function never(): boolean {
  return false
}
