// A thread that indexes: claims in, rows out, many repos at a time. It runs `indexRepo` with a writer that is the main thread's.
// What it asks of hosts it tells the main thread at once, whose scheduler decides who is asked next.
import { parentPort, workerData } from 'node:worker_threads'
import { readArchivedCar } from './archive-read.ts'
import { ArchiveCopy } from './archive-write.ts'
import { fetchRepo } from './fetch.ts'
import { openHttp } from './http.ts'
import { chunksUnderWay, type FromThread, type IndexSetup, Outbox, type ToThread } from './index-messages.ts'
import { type IndexContext, type IndexedRepo, indexRepo } from './index-repo.ts'
import { MemoryBudget } from './memory-budget.ts'
import { Pace } from './pace.ts'
import { Packer, type RepoToPack } from './parcel.ts'
import { createProjection } from './project/projection.ts'
import { createResolver } from './resolve.ts'
import { RowBuffers } from './row-buffers.ts'
import { receiveError, type SentError, sendError } from './sent-error.ts'
import { sendChunk, sendTotals, type Transfer } from './sent-rows.ts'
import type { ClaimedRepo } from './state.ts'
import type { FinishedRepo, RepoTotals, RowChunk, WriteOutcome } from './write.ts'

const port = parentPort
if (port === null) throw new Error('this file runs in a worker thread')
const setup: IndexSetup = workerData
const packer = new Packer()
const outbox = new Outbox<FromThread>(port, sealParcel)
const stop = new AbortController()
const http = openHttp(setup.http)
const tasks = new Map<number, Task>()
const paces = new Pace()
/** Those that the main thread has not been told of. */
let fetchedBytes = 0
let reportTimer: NodeJS.Timeout | undefined
const reportMs = 200
const { archive } = setup

/** What all repos of this thread share. */
const shared: Omit<IndexContext, 'writer' | 'fetchCar' | 'pace'> = {
  config: setup.config,
  projection: createProjection(setup.config),
  resolver: createResolver({ http, plcUrls: setup.plcUrls }),
  budget: new MemoryBudget(setup.budget.limitBytes, setup.budget.shared),
  archive: archive?.use === 'keep' ? (did) => new ArchiveCopy(archive.dir, did) : undefined,
  rowBuffers: new RowBuffers(),
  repoMemoryBytes: setup.repoMemoryBytes,
  largeRepoBytes: setup.largeRepoBytes,
  spillDir: setup.spillDir,
  spills: new MemoryBudget(setup.spills.limitBytes, setup.spills.shared),
  verify: setup.verify,
  signal: stop.signal,
}
const fetchContext = {
  http,
  freesChunks: archive?.use !== 'keep', // it holds chunks until they make a frame
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
    case 'committed':
      for (const task of message.tasks) tasks.get(task)?.settle('committed')
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
    const { written, rows, rejected, spilled } = await index(claim, task)
    if (task.finished === undefined) {
      reportBytes()
      outbox.send(() => ({ kind: 'walked', task: id, rows, rejected, spilled }))
    } else pack(id, task.finished, { rejected, spilled })
    task.finished = undefined // thousands wait for their commits
    const forget = () => tasks.delete(id)
    written.then(forget, forget) // the main thread knows it first
  } catch (error) {
    if (task.finished !== undefined) task.settle(sendError(error)) // its rows will not be sent
    reportBytes()
    outbox.send(() => ({ kind: 'failed', task: id, error: sendError(error) }))
    tasks.delete(id)
  }
}

async function index(claim: ClaimedRepo, task: Task): Promise<IndexedRepo> {
  using pace = paces.enter()
  const onBytes = (bytes: number) => {
    countBytes(bytes)
    pace.received(bytes)
    task.received(bytes)
  }
  return await indexRepo(claim, { ...shared, writer: task, pace, fetchCar: (claim) => carOf(claim, onBytes) })
}

function pack(task: number, finished: Finished, about: { rejected: number; spilled: boolean }): void {
  packer.add({ task, ...finished, ...about })
  outbox.due()
}

function sealParcel(transfer: Transfer): FromThread | undefined {
  const parcel = packer.seal()
  if (parcel === undefined) return undefined
  transfer.add(parcel.bytes)
  return { kind: 'parcel', parcel, fetchedBytes: takeFetched() }
}

type Finished = Pick<RepoToPack, 'repo' | 'recycle'>

/** The writer of one repo, as `indexRepo` sees it. */
class Task implements Pick<IndexContext['writer'], 'add' | 'addLarge'> {
  /** A small repo, which is sent when its walk is closed. */
  finished: Finished | undefined
  readonly #id: number
  #credit = chunksUnderWay
  #receivedBytes = 0
  #written = Promise.withResolvers<WriteOutcome>()
  #settled = false
  #ring: (() => void) | undefined

  constructor(id: number) {
    this.#id = id
  }

  add(repo: FinishedRepo, recycle: () => void): Promise<WriteOutcome> {
    if (this.#settled) this.#begin() // a large walk of it was broken off before
    this.finished = { repo, recycle }
    return this.#written.promise
  }

  async addLarge(
    _claim: ClaimedRepo,
    chunks: AsyncIterable<RowChunk>,
    totals: () => RepoTotals,
  ): Promise<WriteOutcome> {
    const task = this.#id
    this.#begin()
    this.#written.promise.catch(() => undefined) // thrown where it is awaited
    outbox.send(() => ({ kind: 'large', task }))
    try {
      for await (const chunk of chunks) {
        if (!(await this.#spendCredit())) return await this.#written.promise // which closes the walk
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

  /** What is handed over from here on has an outcome of its own. */
  #begin(): void {
    this.#credit = chunksUnderWay
    this.#written = Promise.withResolvers()
    this.#settled = false
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
    this.#settled = true
    this.#ring?.()
  }

  /** False when the writer has an outcome already: it takes no more chunks, and the rest of the walk is of no use. */
  async #spendCredit(): Promise<boolean> {
    while (this.#credit === 0 && !this.#settled) {
      await new Promise<void>((resolve) => {
        this.#ring = resolve
      })
    }
    this.#credit--
    return !this.#settled
  }
}

function carOf({ host, did }: ClaimedRepo, onBytes: (bytes: number) => void): AsyncIterable<Uint8Array> {
  if (archive?.use === 'read') return readArchivedCar({ dir: archive.dir, did })
  const car = setup.cars?.get(did)
  if (car !== undefined) return readInPieces(car, onBytes)
  return fetchRepo({ host, did }, { ...fetchContext, onBytes })
}

/** As a socket gives them: copied once, and others have their turn in between. */
async function* readInPieces(car: Uint8Array, onBytes: (bytes: number) => void): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < car.length; at += pieceBytes) {
    await new Promise((resolve) => setImmediate(resolve))
    const piece = car.slice(at, at + pieceBytes)
    onBytes(piece.length)
    yield piece
  }
}

const pieceBytes = 64 * 1024

/** For the progress line. Nearly all go along with parcels: a message of their own for each turn woke the main thread twice as often. */
function countBytes(bytes: number): void {
  reportTimer ??= setTimeout(reportBytes, reportMs)
  fetchedBytes += bytes
}

function reportBytes(): void {
  clearTimeout(reportTimer)
  reportTimer = undefined
  if (fetchedBytes === 0) return
  const bytes = takeFetched()
  outbox.send(() => ({ kind: 'fetched', bytes }))
}

function takeFetched(): number {
  const bytes = fetchedBytes
  fetchedBytes = 0
  return bytes
}
