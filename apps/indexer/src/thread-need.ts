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
/** Looks in a row that must agree: with one each half second, the code is compiled and the crawl no short one. */
const looks = 4

export class ThreadNeed {
  readonly #maxThreads: number
  #agreed = 0

  constructor(maxThreads: number) {
    this.#maxThreads = maxThreads
  }

  /** Should another thread start now? Then it counts from the beginning. */
  look({ utilizations, repos, idleCores }: ThreadLook): boolean {
    const isShort =
      utilizations.length < this.#maxThreads &&
      utilizations.every((utilization) => utilization > busyUtilization) &&
      repos >= utilizations.length * minReposPerThread &&
      idleCores >= minIdleCores
    this.#agreed = isShort ? this.#agreed + 1 : 0
    if (this.#agreed < looks) return false
    this.#agreed = 0
    return true
  }
}

/** Asked again and again, how many processors were idle since it was asked last. What waits for a disk is not idle. */
export function idleCoresMeter(): () => number {
  const idleMs = () => cpus().reduce((sum, { times }) => sum + times.idle, 0)
  let last = { idleMs: idleMs(), atMs: performance.now() }
  return () => {
    const now = { idleMs: idleMs(), atMs: performance.now() }
    const cores = (now.idleMs - last.idleMs) / Math.max(1, now.atMs - last.atMs)
    last = now
    return cores
  }
}
