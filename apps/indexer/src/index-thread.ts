// A thread that indexes: claims in, rows out, many repos at a time. It runs `indexRepo` with a writer that is the main thread's.
// What it asks of hosts it tells the main thread at once, whose scheduler decides who is asked next.
import { parentPort, workerData } from 'node:worker_threads'
import { readArchivedCar } from './archive-read.ts'
import { ArchiveCopy } from './archive-write.ts'
import { fetchRepo } from './fetch.ts'
import { openHttp } from './http.ts'
import { chunksUnderWay, type FromThread, type IndexSetup, Outbox, type ToThread } from './index-messages.ts'
import { type IndexContext, indexRepo } from './index-repo.ts'
import { MemoryBudget } from './memory-budget.ts'
import { createProjection } from './project/projection.ts'
import { createResolver } from './resolve.ts'
import { receiveError, type SentError, sendError } from './sent-error.ts'
import { sendChunk, sendRepo, sendTotals } from './sent-rows.ts'
import type { ClaimedRepo } from './state.ts'
import type { FinishedRepo, RepoTotals, RowChunk, WriteOutcome } from './write.ts'

const port = parentPort
if (port === null) throw new Error('this file runs in a worker thread')
const setup: IndexSetup = workerData
const outbox = new Outbox<FromThread>(port)
const stop = new AbortController()
const http = openHttp(setup.http)
const tasks = new Map<number, Task>()
let fetchedBytes = 0
const { archive } = setup

/** What all repos of this thread share. */
const shared: Omit<IndexContext, 'writer' | 'fetchCar'> = {
  config: setup.config,
  projection: createProjection(setup.config),
  resolver: createResolver({ http, plcUrls: setup.plcUrls }),
  budget: new MemoryBudget(setup.budget.limitBytes, setup.budget.shared),
  archive: archive?.use === 'keep' ? (did) => new ArchiveCopy(archive.dir, did) : undefined,
  repoMemoryBytes: setup.repoMemoryBytes,
  largeRepoBytes: setup.largeRepoBytes,
  spillDir: setup.spillDir,
  spills: new MemoryBudget(setup.spills.limitBytes, setup.spills.shared),
  verify: setup.verify,
  signal: stop.signal,
}
const fetchContext = {
  http,
  signal: stop.signal,
  onResponse: (seen: Extract<FromThread, { kind: 'seen' }>['seen']) => outbox.send(() => ({ kind: 'seen', seen })),
}

port.on('message', (messages: ToThread[]) => {
  for (const message of messages) receive(message)
})

function receive(message: ToThread): void {
  switch (message.kind) {
    case 'index':
      void runTask(message.task, message.claim)
      break
    case 'more':
      tasks.get(message.task)?.giveCredit()
      break
    case 'written':
      tasks.get(message.task)?.settle(message.outcome)
      break
    case 'abort':
      stop.abort(new Error(message.message))
      break
    case 'close':
      void http.close().finally(() => process.exit())
  }
}

async function runTask(id: number, claim: ClaimedRepo): Promise<void> {
  const task = new Task(id)
  tasks.set(id, task)
  try {
    const { written, rows, rejected, spilled } = await indexRepo(claim, {
      ...shared,
      writer: task,
      fetchCar: (claim) => countBytes(carOf(claim), task),
    })
    outbox.send(() => ({ kind: 'walked', task: id, rows, rejected, spilled }))
    await written.catch(() => undefined) // the main thread knows it first
  } catch (error) {
    outbox.send(() => ({ kind: 'failed', task: id, error: sendError(error) }))
  } finally {
    tasks.delete(id)
  }
}

/** The writer of one repo, as `indexRepo` sees it. */
class Task implements Pick<IndexContext['writer'], 'add' | 'addLarge'> {
  readonly #id: number
  #credit = chunksUnderWay
  #receivedBytes = 0
  #written = Promise.withResolvers<WriteOutcome>()
  #ring: (() => void) | undefined

  constructor(id: number) {
    this.#id = id
  }

  add(repo: FinishedRepo): Promise<WriteOutcome> {
    outbox.send((transfer) => ({ kind: 'repo', task: this.#id, repo: sendRepo(repo, transfer) }))
    return this.#written.promise
  }

  async addLarge(
    _claim: ClaimedRepo,
    chunks: AsyncIterable<RowChunk>,
    totals: () => RepoTotals,
  ): Promise<WriteOutcome> {
    const task = this.#id
    this.#credit = chunksUnderWay
    this.#written = Promise.withResolvers()
    this.#written.promise.catch(() => undefined) // thrown where it is awaited
    outbox.send(() => ({ kind: 'large', task }))
    try {
      for await (const chunk of chunks) {
        await this.#spendCredit()
        outbox.send((transfer) => ({ kind: 'chunk', task, chunk: sendChunk(chunk, transfer) }))
      }
      outbox.send(() => ({ kind: 'totals', task, totals: sendTotals(totals()) }))
    } catch (error) {
      outbox.send(() => ({ kind: 'broken', task }))
      await this.#written.promise.catch(() => undefined) // its transaction is rolled back
      throw error
    }
    return await this.#written.promise
  }

  /** Says once that the download has become huge. */
  received(bytes: number): void {
    const before = this.#receivedBytes
    this.#receivedBytes += bytes
    if (before > setup.hugeBytes || this.#receivedBytes <= setup.hugeBytes) return
    outbox.send(() => ({ kind: 'huge', task: this.#id }))
  }

  giveCredit(): void {
    this.#credit++
    this.#ring?.()
  }

  settle(outcome: WriteOutcome | SentError): void {
    if (typeof outcome === 'string') this.#written.resolve(outcome)
    else this.#written.reject(receiveError(outcome))
    this.#ring?.()
  }

  /** Throws when the writer has failed, which ends the walk. */
  async #spendCredit(): Promise<void> {
    while (this.#credit === 0) {
      const credited = new Promise<void>((resolve) => {
        this.#ring = resolve
      })
      await Promise.race([credited, this.#written.promise])
    }
    this.#credit--
  }
}

function carOf({ host, did }: ClaimedRepo): AsyncIterable<Uint8Array> {
  if (archive?.use === 'read') return readArchivedCar({ dir: archive.dir, did })
  return fetchRepo({ host, did }, fetchContext)
}

async function* countBytes(chunks: AsyncIterable<Uint8Array>, task: Task): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    task.received(chunk.length)
    if (fetchedBytes === 0) setImmediate(reportBytes)
    fetchedBytes += chunk.length
    yield chunk
  }
}

function reportBytes(): void {
  const bytes = fetchedBytes
  fetchedBytes = 0
  outbox.send(() => ({ kind: 'fetched', bytes }))
}
