// The PLC directories of a resolver, asked in turn: a DID in, its document out. One that says 429 is left alone until it said, one that
// states its limits before it says 429. The surprise: while all of them are left alone for long, a DID fails without being asked about,
// which its error tells (`unaskedUntilMs`): that is no attempt of the DID's.
import { setTimeout as sleep } from 'node:timers/promises'
import { documentType, requestDocument } from './did-document-request.ts'
import { IndexerError } from './errors.ts'
import type { GetOptions, Http } from './http.ts'
import { type HeaderMap, readRateLimit } from './rate-limit.ts'

export interface DirectoryLimits {
  readonly maxAttempts: number
  readonly backOffMs: number
  readonly maxWaitMs: number
  readonly headersTimeoutMs: number
  readonly maxDocumentBytes: number
}

/** Until when no directory may be asked, if that is why the DID was not; undefined for all other errors. */
export function unaskedUntilMs(error: unknown): number | undefined {
  if (!(error instanceof IndexerError) || error.details.wasAsked !== false) return undefined
  return typeof error.details.retryAtMs === 'number' ? error.details.retryAtMs : undefined
}

export class PlcDirectories {
  readonly #directories: Directory[]
  readonly #http: Http
  readonly #limits: DirectoryLimits

  constructor(urls: readonly string[], http: Http, limits: DirectoryLimits) {
    this.#directories = urls.map((url) => new Directory(url, limits))
    this.#http = http
    this.#limits = limits
  }

  /** The end of the first pause to end, which may be over; 0 when some directory has none. */
  get pausedUntilMs(): number {
    let firstMs = Number.POSITIVE_INFINITY
    for (const { pausedUntilMs } of this.#directories) firstMs = Math.min(firstMs, pausedUntilMs)
    return firstMs === Number.POSITIVE_INFINITY ? 0 : firstMs
  }

  /** Throws `PlcUnavailable`, and at once whatever `isLasting` says that no other directory would answer better. */
  async ask(did: string, isLasting: (error: IndexerError) => boolean): Promise<unknown> {
    let lastError: unknown
    let wasAsked = this.#directories.length === 0
    for (let attempt = 0; attempt < this.#limits.maxAttempts; attempt++) {
      const next = this.#next(attempt)
      if (next === undefined) break
      const { directory, waitMs } = next
      if (waitMs > 0) await sleep(waitMs)
      const sentAtMs = Date.now()
      directory.inFlight++
      try {
        return await requestDocument(this.#http, { url: `${directory.url}/${did}`, did }, directory.getOptions)
      } catch (error) {
        if (!(error instanceof IndexerError) || isLasting(error)) throw error
        lastError = error
        const { retryAtMs } = error.details
        if (typeof retryAtMs === 'number') wasAsked = directory.refused(sentAtMs, retryAtMs) || wasAsked
        else wasAsked = true
      } finally {
        directory.inFlight--
      }
    }
    throw unavailable(did, { lastError, wasAsked, pausedUntilMs: this.pausedUntilMs })
  }

  /** In turn, those that are not paused; the wait is for the back-off, or for a pause that ends soon. */
  #next(attempt: number): { directory: Directory; waitMs: number } | undefined {
    const directories = this.#directories
    const { backOffMs, maxWaitMs } = this.#limits
    const round = Math.floor(attempt / Math.max(directories.length, 1)) // the first round over all directories does not wait
    const waitedMs = round === 0 ? 0 : backOffMs * 2 ** (round - 1) * (0.75 + Math.random() / 2)
    const untilMs = Date.now() + Math.min(waitedMs, maxWaitMs)
    let best: Directory | undefined
    for (let index = 0; index < directories.length; index++) {
      const directory = directories[(attempt + index) % directories.length]
      if (!directory || (best && Math.max(best.pausedUntilMs, untilMs) <= Math.max(directory.pausedUntilMs, untilMs))) {
        continue
      }
      best = directory
    }
    const waitMs = best ? Math.max(best.pausedUntilMs, untilMs) - Date.now() : 0
    return best && waitMs <= maxWaitMs ? { directory: best, waitMs } : undefined
  }
}

function unavailable(
  did: string,
  { lastError, wasAsked, pausedUntilMs }: { lastError: unknown; wasAsked: boolean; pausedUntilMs: number },
): IndexerError {
  const nowMs = Date.now()
  const message = wasAsked
    ? `no PLC directory answered for ${did}`
    : `${did} waits until a PLC directory may be asked again`
  const retryAtMs = !wasAsked || pausedUntilMs > nowMs ? Math.max(nowMs, pausedUntilMs) : undefined
  return new IndexerError('PlcUnavailable', message, {
    cause: lastError,
    details: { did, wasAsked, ...(retryAtMs === undefined ? {} : { retryAtMs }) },
  })
}

/** A directory that says 429 again without having answered anybody is asked half as often each time, down to this. */
const maxUnansweredPauseMs = 300_000

class Directory {
  readonly url: string
  readonly getOptions: GetOptions
  pausedUntilMs = 0
  inFlight = 0
  #pauseMs = 0
  /** Since the last pause. */
  #hasAnswered = true
  /** Said 429 all the time between two pauses. */
  #onlyRefuses = false

  constructor(url: string, { headersTimeoutMs, maxDocumentBytes: maxBytes }: DirectoryLimits) {
    this.url = url.replace(/\/+$/, '')
    const onResponse = (hop: { status: number; headers: HeaderMap }) => this.#heard(hop)
    this.getOptions = { accept: documentType, maxBytes, headersTimeoutMs, onResponse }
  }

  /**
   * 429. False: whoever asked has come too late, for others were answered. True: nobody was since the last pause, so that it may be the
   * answer that this DID always gets.
   */
  refused(sentAtMs: number, retryAtMs: number): boolean {
    const nowMs = Date.now()
    if (sentAtMs >= this.pausedUntilMs) {
      // The others that were under way at that time say the same once more.
      this.#onlyRefuses = !this.#hasAnswered
      this.#hasAnswered = false
      const doubledMs = this.#onlyRefuses ? Math.min(this.#pauseMs * 2, maxUnansweredPauseMs) : 0
      this.#pauseMs = Math.max(retryAtMs - nowMs, doubledMs)
    }
    this.pausedUntilMs = Math.max(this.pausedUntilMs, retryAtMs, nowMs + this.#pauseMs)
    return this.#onlyRefuses
  }

  /** What it still allows may be used up by the requests that are under way. */
  #heard({ status, headers }: { status: number; headers: HeaderMap }): void {
    if (status !== 429) this.#hasAnswered = true
    const remaining = headers['ratelimit-remaining']
    const isSpent = remaining !== undefined && Number(remaining) < this.inFlight
    if (!isSpent || status === 429) return
    const { resetMs = 0 } = readRateLimit(headers, Date.now())
    this.pausedUntilMs = Math.max(this.pausedUntilMs, Date.now() + resetMs)
  }
}
