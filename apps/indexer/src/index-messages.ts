// What the main thread and the threads that index say to each other. A turn of the event loop sends one message, however many
// things it has to say, with whole buffers transferred.
import type { MessagePort, Worker } from 'node:worker_threads'
import type { Config } from './config.ts'
import type { ResponseSeen } from './fetch-xrpc.ts'
import type { HttpOptions } from './http.ts'
import type { Parcel } from './parcel.ts'
import type { SentError } from './sent-error.ts'
import type { SentChunk, Transfer } from './sent-rows.ts'
import type { ClaimedRepo } from './state.ts'
import type { RepoTotals, WriteOutcome } from './write.ts'

/** What a thread gets at its start. */
export interface IndexSetup {
  config: Config
  http: Pick<HttpOptions, 'version' | 'contact' | 'allowPrivateHosts' | 'limits'>
  plcUrls: readonly string[]
  budget: { limitBytes: number; shared: SharedArrayBuffer }
  repoMemoryBytes: number
  /** Rows past this go to Postgres while the repo is walked, in a transaction of its own. */
  largeRepoBytes: number
  /** Downloads past this need not keep their host's slot from others. */
  hugeBytes: number
  spillDir: string
  spills: { limitBytes: number; shared: SharedArrayBuffer }
  verify: 'full' | 'structure'
  /** Fetched CARs are kept there, or CARs are read from there and nobody is asked. */
  archive?: { dir: string; use: 'keep' | 'read' } | undefined
  /** CARs that are in memory already, shared by all threads; for these nobody is asked. */
  cars?: ReadonlyMap<string, Uint8Array>
}

export type ToThread =
  | { kind: 'index'; task: number; claim: ClaimedRepo }
  /** A chunk of a large repo was taken; another may come. */
  | { kind: 'more'; task: number }
  /** Their rows are safe. */
  | { kind: 'committed'; tasks: readonly number[] }
  /** How the rows of a repo ended otherwise. */
  | { kind: 'written'; task: number; outcome: WriteOutcome | SentError }
  | { kind: 'abort'; message: string }
  | { kind: 'close' }

export type FromThread =
  | { kind: 'seen'; seen: ResponseSeen }
  /** Bytes of CARs since the last word of them, from whatever hosts. */
  | { kind: 'fetched'; bytes: number }
  /** The download is larger than `hugeBytes` already. */
  | { kind: 'huge'; task: number }
  /** Small repos, ready to be written; their walks are closed. */
  | { kind: 'parcel'; parcel: Parcel; fetchedBytes: number }
  /** A large one begins; its chunks follow, then its totals, or `broken`. */
  | { kind: 'large'; task: number }
  | { kind: 'chunk'; task: number; chunk: SentChunk }
  | { kind: 'totals'; task: number; totals: RepoTotals }
  | { kind: 'broken'; task: number }
  /** The walk of a large one is closed. */
  | { kind: 'walked'; task: number; rows: number; rejected: number; spilled: boolean }
  | { kind: 'failed'; task: number; error: SentError }

/**
 * Chunks of a large repo that may be on their way to the main thread. A thread hears that one was taken when its turn ends, after 50 to
 * 200 ms: with two of them a large repo waited for that more than half of its time.
 */
export const chunksUnderWay = 8

/** Collects what one turn of the event loop has to say. */
export class Outbox<Message> {
  readonly #port: Pick<MessagePort | Worker, 'postMessage'>
  readonly #lastWord: (transfer: Transfer) => Message | undefined
  readonly #transfer: Transfer = new Set()
  #messages: Message[] = []
  #isDue = false
  readonly #flush = () => {
    const last = this.#lastWord(this.#transfer)
    if (last !== undefined) this.#messages.push(last)
    const messages = this.#messages
    this.#messages = []
    this.#isDue = false
    this.#port.postMessage(messages, [...this.#transfer])
    this.#transfer.clear()
  }

  /** `lastWord` says at the end of a turn what was gathered meanwhile, see `due`. */
  constructor(
    port: Pick<MessagePort | Worker, 'postMessage'>,
    lastWord: (transfer: Transfer) => Message | undefined = () => undefined,
  ) {
    this.#port = port
    this.#lastWord = lastWord
  }

  /** `make` adds the buffers that the message takes along. */
  send(make: (transfer: Transfer) => Message): void {
    this.due()
    this.#messages.push(make(this.#transfer))
  }

  /** There will be a last word to this turn. */
  due(): void {
    if (!this.#isDue) setImmediate(this.#flush)
    this.#isDue = true
  }
}
