// Gives the entries of a load in chunks, reading on while bytes are still to come and a wanted block is not there yet.
import { cidText } from './cid.ts'
import { RepoStreamError } from './errors.ts'
import type { Load } from './load.ts'
import type { Commit, Driver, Entry } from './types.ts'
import { Walk, type WalkStatus } from './walk.ts'

export class WalkDriver implements Driver {
  readonly #load: Load
  readonly #walk: Walk
  #busy = false
  /** An error is final: what comes after it cannot be trusted, so it is thrown again. */
  #failed: { readonly error: unknown } | undefined

  constructor(load: Load, commit: Commit) {
    this.#load = load
    load.isWalked = true
    this.#walk = new Walk(load.blocks, commit.data.subarray(4), { limits: load.limits, process: load.process })
  }

  get streaming(): boolean {
    return !this.#load.ended
  }

  async nextChunk(maxEntries: number): Promise<Entry[] | undefined> {
    if (!(maxEntries >= 1)) throw new TypeError(`maxEntries must be at least 1: ${maxEntries}`)
    if (this.#busy) throw new RepoStreamError('Closed', 'nextChunk was called before the last call had ended')
    if (this.#failed !== undefined) throw this.#failed.error
    if (this.#load.closed) throw new RepoStreamError('Closed', 'the driver is closed')
    this.#busy = true
    try {
      this.#load.signal?.throwIfAborted()
      if (this.#load.isScattered()) await this.#load.gather(this.#walk.root)
      for (;;) {
        const entries: Entry[] = []
        const status = this.#walk.fill(entries, maxEntries)
        if (entries.length > 0) return await entries // over a turn later: who calls twice at once is told
        if (!this.#load.ended) await this.#readOn(status)
        else if (status === 'missing') throw this.#missing()
        else return undefined
      }
    } catch (error) {
      this.#failed = { error }
      if (this.#load.signal?.aborted === true) await this.#release()
      throw error
    } finally {
      this.#busy = false
    }
  }

  close(): Promise<void> {
    return this.#busy ? this.#load.close() : this.#release()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #release(): Promise<void> {
    if (!this.#load.closed) this.#walk.close()
    return this.#load.close()
  }

  /** The wanted block is still to come; after the last entry, the rest of the CAR is read to be checked. */
  async #readOn(status: WalkStatus): Promise<void> {
    const load = this.#load
    const { slab, at } = this.#walk.wanted
    const outcome = await load.read(() => status === 'missing' && load.blocks.find(slab.view, at))
    if (outcome !== 'full') return
    await load.openStore()
    this.#walk.moveTo(load.blocks)
  }

  #missing(): RepoStreamError {
    const { slab, at } = this.#walk.wanted
    return new RepoStreamError('MissingBlock', 'the tree needs a block that is not in the CAR', {
      cid: cidText(slab.bytes, at),
    })
  }
}
