// Decides when another thread that indexes is worth its memory. In: looks at those that run; out: yes, once they have been busy for
// a while, with repos that another could take over and a processor that has nothing to do.
// A crawl that its hosts hold back keeps one thread: another would cost 60 MiB and compile all code once more.
import { cpus } from 'node:os'

export interface ThreadLook {
  /** Share of the time since the last look in which each thread was busy. */
  utilizations: readonly number[]
  /** Under way in all of them. */
  repos: number
  /** Processors that had nothing to do, of the whole machine: 0.5 is one for half of the time. */
  idleCores: number
}

const busyUtilization = 0.85
/** With fewer the new thread would get nothing soon. */
const minReposPerThread = 4
/** Tiny repos on two cores leave 0.1 to the machine (main thread, Postgres), and a second thread made them a quarter slower. */
const minIdleCores = 0.25
/** Looks that count, on average: with one each half second, the code is compiled by then and the crawl no short one. */
const looks = 4

export class ThreadNeed {
  readonly #maxThreads: number
  #last: ThreadLook[] = []

  constructor(maxThreads: number) {
    this.#maxThreads = maxThreads
  }

  /** Should another thread start now? Then it counts from the beginning. */
  look(look: ThreadLook): boolean {
    const threads = look.utilizations.length
    this.#last = [...this.#last, look].slice(-looks)
    const needed =
      threads < this.#maxThreads &&
      this.#last.length === looks &&
      mean(this.#last.map(({ utilizations }) => Math.min(...utilizations))) > busyUtilization &&
      mean(this.#last.map(({ repos }) => repos)) >= threads * minReposPerThread &&
      mean(this.#last.map(({ idleCores }) => idleCores)) >= minIdleCores
    if (needed) this.#last = []
    return needed
  }
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Asked again and again, how many processors were idle since it was asked last. One that waits for a disk is idle. */
export function idleCoresMeter(): () => number {
  let last = { busyMs: busyMs(), atMs: performance.now() }
  return () => {
    const now = { busyMs: busyMs(), atMs: performance.now() }
    const busyCores = (now.busyMs - last.busyMs) / Math.max(1, now.atMs - last.atMs)
    last = now
    return cpus().length - busyCores
  }
}

function busyMs(): number {
  return cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0)
}
