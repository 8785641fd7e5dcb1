// Streams one response body: decodes its content-encoding and enforces the byte caps, the minimum rate and the deadline.
// In: the bytes off the wire. Out: decoded chunks, not copied. Whoever stops iterating releases the connection.
// Only time in which the consumer waits for the host counts against the host; a consumer that is busy costs it nothing.
import { pipeline } from 'node:stream'
import { constants, createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib'
import { freeNow } from 'repo-stream'
import { IndexerError } from './errors.ts'
import type { RawBody } from './http-exchange.ts'
import { httpFailure } from './http-failure.ts'
import type { HttpLimits } from './http-limits.ts'
import { ownsMemory } from './own-memory.ts'

export interface BodyOptions {
  url: string
  /** The content-encoding header. */
  encoding: string | undefined
  maxBytes: number
  limits: HttpLimits
  /** The caller's; its reason is thrown as it is. */
  signal: AbortSignal | undefined
  /** Told of every decoded chunk. */
  onBytes: ((bytes: number) => void) | undefined
  /** A chunk is not looked at once the next is asked for. */
  freesChunks: boolean | undefined
}

/** Whoever ends it early calls `return`, as `for await` does; an error has ended it already. */
export interface ByteStream extends AsyncIterableIterator<Uint8Array, undefined, undefined> {
  return(): Promise<IteratorResult<Uint8Array, undefined>>
}

/** What `accept-encoding` may offer: what `decoderFor` decodes. */
export const acceptedEncodings = 'gzip, br, zstd'

export function readBody(raw: RawBody, options: BodyOptions): ByteStream {
  return new Body(raw, options)
}

/** No generator: those of a tiny repo's three layers cost more than its bytes. */
class Body implements ByteStream {
  readonly #raw: RawBody
  readonly #options: BodyOptions
  readonly #meter: BodyMeter
  #decoder: Decoder | undefined
  #pull: (() => Chunk | Promise<Chunk>) | undefined
  #ended = false
  /** The last chunk, if it may be freed. */
  #last: Uint8Array | undefined

  constructor(raw: RawBody, options: BodyOptions) {
    this.#raw = raw
    this.#options = options
    this.#meter = new BodyMeter(raw, options)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    if (this.#ended) return { done: true, value: undefined }
    try {
      this.#pull ??= this.#open()
      const pulled = this.#pull()
      const chunk = pulled instanceof Promise ? await this.#meter.wait(pulled) : pulled
      if (this.#options.freesChunks && this.#decoder === undefined) this.#freeBefore(chunk)
      if (chunk === undefined) return await this.return()
      if (this.#decoder === undefined) this.#meter.encodedBytes += chunk.length
      this.#meter.countDecoded(chunk.length)
      this.#options.onBytes?.(chunk.length)
      return { done: false, value: chunk }
    } catch (error) {
      const { signal, url } = this.#options
      this.#stop()
      if (signal?.aborted) throw signal.reason
      throw this.#meter.verdict ?? httpFailure(error, url, 'body')
    }
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#stop()
    return { done: true, value: undefined }
  }

  #open(): () => Chunk | Promise<Chunk> {
    const decoder = decoderFor(this.#options)
    this.#decoder = decoder
    return decoder === undefined ? () => this.#raw.next() : decoded(this.#raw, decoder, this.#meter)
  }

  /**
   * What one read of the socket gave may hold several chunks, and they come one after the other: it is free when a chunk from elsewhere
   * comes. Left to the collector, each read took memory that no cache holds: 0.98 of the processor time a row.
   */
  #freeBefore(chunk: Chunk): void {
    if (this.#last !== undefined && this.#last.buffer !== chunk?.buffer) freeNow(this.#last)
    this.#last = chunk !== undefined && ownsMemory(chunk) ? chunk : undefined
  }

  #stop(): void {
    this.#ended = true
    this.#meter.stop()
    this.#decoder?.destroy()
    this.#raw.destroy()
  }
}

type Chunk = Uint8Array | undefined

/** Runs the body through `decoder`; the chunks that come out are pulled. */
function decoded(raw: RawBody, decoder: Decoder, meter: BodyMeter): () => Promise<Chunk> {
  pipeline(countEncoded(raw, meter), decoder, () => undefined) // an error reaches the iterator below
  // Bytes that are here and not decoded yet are ours to wait for, not the host's to send; unless nothing ever comes out of them.
  meter.decoding = () => !meter.isSilent && (raw.ended || raw.queuedBytes > 0 || decoder.writableLength > 0)
  const chunks: AsyncIterator<unknown> = decoder[Symbol.asyncIterator]()
  return async () => {
    const { done, value } = await chunks.next()
    if (done === true) return undefined
    if (value instanceof Uint8Array) return value
    throw new TypeError('a body of bytes gave something else')
  }
}

async function* countEncoded(raw: RawBody, meter: BodyMeter): AsyncGenerator<Uint8Array> {
  for (;;) {
    const chunk = await raw.next()
    if (chunk === undefined) return
    meter.countEncoded(chunk.length)
    yield chunk
  }
}

/** 8 MiB, the most that RFC 9659 allows over HTTP. Node allows 128 MiB, and each body would hold as much outside of all budgets. */
const zstdWindowLog = 23

type Decoder = NonNullable<ReturnType<typeof decoderFor>>

function decoderFor({ encoding, url }: BodyOptions) {
  // One call into zlib gives at most this much: half the calls of the default, and small times 256 bodies.
  const chunkSize = 64 * 1024
  switch ((encoding ?? '').trim().toLowerCase()) {
    case '':
    case 'identity':
      return undefined
    case 'gzip':
    case 'x-gzip':
      return createGunzip({ chunkSize })
    case 'deflate':
      return createInflate({ chunkSize })
    case 'br':
      return createBrotliDecompress({ chunkSize })
    case 'zstd':
      return createZstdDecompress({ chunkSize, params: { [constants.ZSTD_d_windowLogMax]: zstdWindowLog } })
  }
  throw new IndexerError('BadEncoding', `${new URL(url).host} answered in the encoding ${encoding}`, {
    details: { url, encoding },
  })
}

/** Counts bytes and waiting; a verdict destroys the stream, so that a read that waits for ever ends. */
class BodyMeter {
  encodedBytes = 0
  verdict: IndexerError | undefined
  decoding: () => boolean = () => false
  private decodedBytes = 0
  private encodedBytesAtChunk = 0
  private waitingSince: number | undefined
  private waitedMs = 0
  private windowStartWaitedMs = 0
  private windowStartBytes = 0
  /** Of a page that is parsed as a whole less is free than of a repo. */
  private readonly freeBytes: number
  private readonly raw: RawBody
  private readonly options: BodyOptions
  private timer: NodeJS.Timeout | undefined

  constructor(raw: RawBody, options: BodyOptions) {
    this.raw = raw
    this.options = options
    this.freeBytes = Math.min(options.limits.expansionFreeBytes, options.maxBytes / 8)
  }

  /** A chunk that is already here is not waited for, and costs no timer. */
  async wait(chunk: Promise<Chunk>): Promise<Chunk> {
    const { minimumRateWindowMs, bodyTimeoutMs } = this.options.limits
    this.timer ??= setInterval(() => this.tick(), Math.min(1000, minimumRateWindowMs / 4, bodyTimeoutMs / 4))
    this.waitingSince = performance.now()
    const arrived = await chunk
    this.addWaiting()
    this.waitingSince = undefined
    return arrived
  }

  /** Of a body that is decoded: an empty block costs five bytes, and would be decoded for ever. */
  countEncoded(bytes: number): void {
    this.encodedBytes += bytes
    const { maxBytes, limits, url } = this.options
    if (this.encodedBytes - this.encodedBytesAtChunk > limits.maxSilentBytes) {
      throw new IndexerError('BadEncoding', `${limits.maxSilentBytes} bytes decode to nothing`, {
        details: { url, encodedBytes: this.encodedBytes, decodedBytes: this.decodedBytes },
      })
    }
    if (this.encodedBytes > maxBytes + limits.maxSilentBytes) throw this.tooBig()
  }

  countDecoded(bytes: number): void {
    this.decodedBytes += bytes
    this.encodedBytesAtChunk = this.encodedBytes
    const { maxBytes, limits, url } = this.options
    const { decodedBytes, encodedBytes } = this
    if (decodedBytes > maxBytes) throw this.tooBig()
    if (decodedBytes > this.freeBytes && decodedBytes > encodedBytes * limits.maxExpansion) {
      const details = { url, decodedBytes, encodedBytes }
      throw new IndexerError('CompressionBomb', `${encodedBytes} bytes became ${decodedBytes}`, { details })
    }
  }

  /** More came since the last decoded chunk than can be on its way through the decoder. */
  get isSilent(): boolean {
    return this.encodedBytes - this.encodedBytesAtChunk > this.options.limits.maxSilentBytes / 2
  }

  stop(): void {
    clearInterval(this.timer)
  }

  private tooBig(): IndexerError {
    const { maxBytes, url } = this.options
    const details = { url, decodedBytes: this.decodedBytes, encodedBytes: this.encodedBytes }
    return new IndexerError('BodyTooBig', `the body is larger than ${maxBytes} bytes`, { details })
  }

  private addWaiting(): void {
    const now = performance.now()
    if (this.waitingSince !== undefined && !this.decoding()) this.waitedMs += now - this.waitingSince
    this.waitingSince = now
  }

  private tick(): void {
    if (this.waitingSince === undefined || this.verdict) return
    this.addWaiting()
    const { limits } = this.options
    const windowMs = this.waitedMs - this.windowStartWaitedMs
    const bytes = this.encodedBytes - this.windowStartBytes
    if (this.waitedMs > limits.bodyTimeoutMs) {
      this.condemn(`not whole after ${limits.bodyTimeoutMs} ms of waiting`)
    } else if (windowMs >= limits.minimumRateWindowMs) {
      if (bytes * 1000 < limits.minimumBytesPerSecond * windowMs) {
        this.condemn(`${bytes} bytes in ${Math.round(windowMs)} ms of waiting`)
      }
      this.windowStartWaitedMs = this.waitedMs
      this.windowStartBytes = this.encodedBytes
    }
  }

  private condemn(message: string): void {
    const details = { url: this.options.url, waitedMs: Math.round(this.waitedMs), encodedBytes: this.encodedBytes }
    this.verdict = new IndexerError('BodyTooSlow', message, { details })
    this.raw.destroy(this.verdict)
  }
}
