// Threads that index repos: a claim in, its rows at the writer out. Each thread fetches, walks, projects and encodes many
// repos at a time; this side hands out the claims and feeds the writer, so that encoding and Postgres do not wait for each other.
// One thread at first; another when those that run have been busy for a while (thread-need.ts). None stops before the end.
import type { EventLoopUtilization } from 'node:perf_hooks'
import type { Worker } from 'node:worker_threads'
import { ChunkQueue } from './chunk-queue.ts'
import type { ResponseSeen } from './fetch-xrpc.ts'
import { type FromThread, type IndexSetup, Outbox, type ToThread } from './index-messages.ts'
import type { IndexedRepo } from './index-repo.ts'
import { startThread } from './index-setup.ts'
import { type Parcel, unpack } from './parcel.ts'
import { receiveError, sendError } from './sent-error.ts'
import { receiveChunk } from './sent-rows.ts'
import type { ClaimedRepo } from './state.ts'
import { idleCoresMeter, ThreadNeed } from './thread-need.ts'
import type { RepoTotals, WriteOutcome, Writer } from './write.ts'

export interface IndexPoolOptions {
  /** At most. */
  threads: number
  setup: IndexSetup
  writer: Pick<Writer, 'add' | 'addLarge'>
  signal: AbortSignal
  onSeen: (seen: ResponseSeen) => void
  onFetched: (bytes: number) => void
  /** Told how many threads there are now when another starts. */
  onThread?: (threads: number) => void
  /** The first thread, if it was started already. */
  first?: Worker
}

export interface IndexPool extends AsyncDisposable {
  /** As `indexRepo` of index-repo.ts, in the thread that has the fewest repos; `onHuge` tells that a download has become huge. */
  indexRepo(claim: ClaimedRepo, onHuge?: () => void): Promise<IndexedRepo>
  close(): Promise<void>
}

const lookMs = 500

export function openIndexPool(options: IndexPoolOptions): IndexPool {
  const threads = [new IndexThread(options, options.first)]
  const need = new ThreadNeed(options.threads)
  const idleCores = idleCoresMeter()
  const look = () => {
    const utilizations = threads.map((thread) => thread.utilization())
    const repos = threads.reduce((sum, thread) => sum + thread.repos, 0)
    if (!need.look({ utilizations, repos, idleCores: idleCores() })) return
    threads.push(new IndexThread(options))
    options.onThread?.(threads.length)
    if (threads.length === options.threads) clearInterval(timer)
  }
  const timer = options.threads > 1 ? setInterval(look, lookMs).unref() : undefined
  const close = async () => {
    clearInterval(timer)
    await Promise.all(threads.map((thread) => thread.close()))
  }
  return {
    indexRepo: (claim, onHuge) =>
      threads.reduce((best, thread) => (thread.repos < best.repos ? thread : best)).index(claim, onHuge),
    close,
    [Symbol.asyncDispose]: close,
  }
}

interface Task {
  readonly claim: ClaimedRepo
  /** Called when its download grows huge. */
  readonly onHuge: (() => void) | undefined
  readonly indexed: PromiseWithResolvers<IndexedRepo>
  written: Promise<WriteOutcome> | undefined
  chunks: ChunkQueue | undefined
  totals: RepoTotals | undefined
}

/** The walk of a large repo has failed; its thread says why. */
class WalkBroken extends Error {}

class IndexThread {
  readonly #options: IndexPoolOptions
  readonly #worker: Worker
  readonly #outbox: Outbox<ToThread>
  readonly #tasks = new Map<number, Task>()
  #committed: number[] = []
  readonly #onAbort = () => this.#outbox.send(() => ({ kind: 'abort', message: String(this.#options.signal.reason) }))
  readonly #ended: Promise<void>
  #lastTask = 0
  #lastLook: EventLoopUtilization
  #failure: { error: unknown } | undefined

  constructor(options: IndexPoolOptions, worker = startThread(options.setup)) {
    this.#options = options
    this.#worker = worker
    this.#lastLook = this.#worker.performance.eventLoopUtilization()
    this.#outbox = new Outbox(this.#worker, () => this.#takeCommitted())
    this.#ended = new Promise((resolve) => {
      this.#worker.once('exit', () => resolve())
    })
    this.#worker.on('message', (messages: FromThread[]) => {
      for (const message of messages) this.#receive(message)
    })
    this.#worker.once('error', (error) => this.#fail(error))
    options.signal.addEventListener('abort', this.#onAbort)
  }

  /** Share of the time since the last call in which it was busy. */
  utilization(): number {
    const { performance } = this.#worker
    const now = performance.eventLoopUtilization()
    const { utilization } = performance.eventLoopUtilization(now, this.#lastLook)
    this.#lastLook = now
    return utilization
  }

  /** Under way in this thread. */
  get repos(): number {
    return this.#tasks.size
  }

  index(claim: ClaimedRepo, onHuge: (() => void) | undefined): Promise<IndexedRepo> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure.error)
    const task = ++this.#lastTask
    const indexed = Promise.withResolvers<IndexedRepo>()
    this.#tasks.set(task, { claim, onHuge, indexed, written: undefined, chunks: undefined, totals: undefined })
    this.#outbox.send(() => ({ kind: 'index', task, claim }))
    return indexed.promise
  }

  async close(): Promise<void> {
    this.#options.signal.removeEventListener('abort', this.#onAbort)
    if (this.#failure === undefined) this.#outbox.send(() => ({ kind: 'close' }))
    await this.#ended
  }

  /** A bug, or no memory: it ends the run. */
  #fail(error: unknown): void {
    this.#failure = { error }
    for (const { indexed, chunks } of this.#tasks.values()) {
      chunks?.fail(error)
      indexed.reject(error)
    }
    this.#tasks.clear()
  }

  #receive(message: FromThread): void {
    if (message.kind === 'seen') this.#options.onSeen(message.seen)
    else if (message.kind === 'fetched') this.#options.onFetched(message.bytes)
    else if (message.kind === 'parcel') {
      this.#options.onFetched(message.fetchedBytes)
      this.#writeSmall(message.parcel)
    } else this.#hear(message, this.#taskOf(message.task))
  }

  #taskOf(id: number): Task {
    const task = this.#tasks.get(id)
    if (task === undefined) throw new Error(`a thread speaks of task ${id}, which has ended`)
    return task
  }

  #hear(message: Extract<FromThread, { task: number }>, task: Task): void {
    switch (message.kind) {
      case 'huge':
        task.onHuge?.()
        break
      case 'large':
        this.#writeLarge(message.task, task)
        break
      case 'chunk':
        task.chunks?.push(receiveChunk(message.chunk))
        break
      case 'totals':
        task.totals = message.totals
        task.chunks?.end()
        break
      case 'broken':
        task.chunks?.fail(new WalkBroken('the walk has failed'))
        break
      case 'walked': {
        const { rows, rejected, spilled } = message
        this.#tasks.delete(message.task)
        if (task.written === undefined) throw new Error('a repo is given to the writer before its walk is closed')
        task.indexed.resolve({ written: task.written, rows, rejected, spilled })
        break
      }
      case 'failed':
        this.#tasks.delete(message.task)
        task.indexed.reject(receiveError(message.error))
    }
  }

  #writeSmall(parcel: Parcel): void {
    for (const { task: id, repo, rejected, spilled, release } of unpack(parcel)) {
      const task = this.#taskOf(id)
      this.#tasks.delete(id)
      const written = this.#options.writer.add({ claim: task.claim, ...repo })
      this.#tellOutcome(id, written, release)
      task.indexed.resolve({ written, rows: repo.rows, rejected, spilled })
    }
  }

  #writeLarge(id: number, task: Task): void {
    const chunks = new ChunkQueue(() => this.#outbox.send(() => ({ kind: 'more', task: id })))
    task.chunks = chunks
    task.totals = undefined
    const totals = () => {
      if (task.totals === undefined) throw new Error('the totals of a large repo come with the end of its chunks')
      return task.totals
    }
    task.written = this.#options.writer.addLarge(task.claim, chunks, totals)
    this.#tellOutcome(id, task.written)
  }

  /** The thread gives back the memory of the rows when it hears how they ended. After an error a socket may still hold them here. */
  #tellOutcome(task: number, written: Promise<WriteOutcome>, release = () => {}): void {
    written.then(
      (outcome) => {
        release()
        if (outcome !== 'committed') return this.#outbox.send(() => ({ kind: 'written', task, outcome }))
        this.#committed.push(task)
        this.#outbox.due()
      },
      (error: unknown) => this.#outbox.send(() => ({ kind: 'written', task, outcome: sendError(error) })),
    )
  }

  #takeCommitted(): ToThread | undefined {
    const tasks = this.#committed
    if (tasks.length === 0) return undefined
    this.#committed = []
    return { kind: 'committed', tasks }
  }
}
