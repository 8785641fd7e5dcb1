// Runs at most so many tasks at once, in the order they came; a task is told which slot it has.
export class Slots {
  readonly #free: number[]
  readonly #waiting: ((slot: number) => void)[] = []
  readonly #running = new Set<Promise<unknown>>()

  constructor(slots: number) {
    this.#free = Array.from({ length: slots }, (_, index) => index)
  }

  get idle(): number {
    return this.#free.length
  }

  run<T>(task: (slot: number) => Promise<T>): Promise<T> {
    const run = this.#run(task)
    this.#running.add(run)
    const done = () => void this.#running.delete(run)
    run.then(done, done)
    return run
  }

  /** Resolves when nothing runs or waits; failures are their callers'. */
  async empty(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running)
  }

  async #run<T>(task: (slot: number) => Promise<T>): Promise<T> {
    const slot = this.#free.pop() ?? (await new Promise<number>((resolve) => this.#waiting.push(resolve)))
    try {
      return await task(slot)
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#free.push(slot)
      else next(slot)
    }
  }
}
